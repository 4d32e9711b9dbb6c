// Commands that are loaded only when they are asked for: a start costs what the asked one needs.
import { Command } from "commander";

/** What a command's file exports. */
export interface CommandModule {
  buildCommand(): Command;
  /** Of a command that only holds others. */
  readonly subcommands?: readonly LazyCommand[];
}

export interface LazyCommand {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

/** Adds commands to `parent`, in their order, and loads the one that `args` names, if any; the others are known by name alone. */
export async function addCommands(
  parent: Command,
  commands: readonly LazyCommand[],
  args: readonly string[],
): Promise<void> {
  for (const { name, summary, load } of commands) {
    const module = name === args[0] ? await load() : undefined;
    const command = (module?.buildCommand() ?? new Command(name)).summary(summary).copyInheritedSettings(parent);
    parent.addCommand(command);
    if (module?.subcommands !== undefined) await addCommands(command, module.subcommands, args.slice(1));
  }
}
