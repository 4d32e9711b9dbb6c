// The settings for people: the README's table, and the help of `check-config`.
import type { Setting } from "./setting.ts";
import { SETTINGS } from "./settings.ts";

const ALL: readonly Setting<unknown>[] = Object.values(SETTINGS);

/** A Markdown table of every setting; the README holds exactly this. */
export function settingsMarkdown(): string {
  const rows = ALL.map((setting) => {
    const secret = setting.secret ? " Secret." : "";
    return [`\`${setting.env}\``, setting.meaning + secret, setting.defaultText, setting.range, setting.whenToChange];
  });
  const header = ["Setting", "What it is", "Default", "Range", "When to change it"];
  return [header, header.map(() => "---"), ...rows]
    .map((cells) => `| ${cells.map(escapeCell).join(" | ")} |`)
    .join("\n");
}

/** One paragraph per setting, for a terminal. */
export function settingsText(): string {
  return ALL.map((setting) => {
    const lines = [setting.meaning, `Default: ${setting.defaultText}`, `Range: ${setting.range}`];
    return [`  ${setting.env}`, ...lines.map((line) => `      ${line.replaceAll("`", "")}`)].join("\n");
  }).join("\n");
}

function escapeCell(text: string): string {
  return text.replaceAll("|", "\\|");
}
