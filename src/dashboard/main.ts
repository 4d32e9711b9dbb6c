// The page: whom it is for, and how the link to the service stands.
import "./style.css";
import { Code } from "@connectrpc/connect";
import { openApi, readPageFacts } from "./api.ts";
import { CustomerView } from "./customer-view.ts";
import { element, setText } from "./dom.ts";
import { OperatorView } from "./operator-view.ts";
import { type LinkState, persist } from "./persist.ts";
import { followNewLinks, openSession, type Session } from "./session.ts";

const link = byId("link");
const main = byId("view");

function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

function showLink(state: LinkState): void {
  link.dataset["state"] = state.is;
  if (state.is === "connecting") setText(link, "Connecting…");
  if (state.is === "live") setText(link, "Live");
  if (state.is === "waiting") setText(link, "Connection lost; trying again…");
  if (state.is === "refused") setText(link, "Not connected");
}

/** A token may be missing, wrong, or for another customer: each has its own words, and a way on. */
function showRefusal(state: LinkState, session: Session): void {
  if (state.is !== "refused") return;
  const { code, rawMessage } = state.error;
  if (code === Code.Unauthenticated) {
    const why =
      session.token === undefined
        ? "This page needs a link with a token in it. Whoever runs this service makes one: metering tokens dashboard."
        : "The link this page was opened with is no longer valid. Ask for a new one where you got it.";
    showNotice(session.token === undefined ? "A link is needed" : "Please open a new link", why);
  } else if (code === Code.PermissionDenied && session.customerId !== undefined)
    showNotice("Not yours to see", `This link does not open the usage of ${session.customerId}.`);
  else if (session.customerId === undefined && (code === Code.PermissionDenied || code === Code.Unimplemented))
    showNotice("Whose usage?", "All customers at once are for operators.", askCustomer());
  else showNotice("That cannot be shown", rawMessage, askCustomer());
}

/** Takes the place of the view, and the focus that was in it. */
function showNotice(title: string, text: string, ...more: readonly Node[]): void {
  const notice = element("div", { class: "notice" }, element("h1", {}, title), element("p", {}, text), ...more);
  document.title = title;
  main.replaceChildren(notice);
  main.focus();
}

/** Its submission is a navigation by script: the policy lets no form be sent anywhere. */
function askCustomer(): HTMLElement {
  const input = element("input", {
    id: "customer",
    name: "customer",
    required: "",
    maxlength: "128",
    autocomplete: "off",
  });
  const form = element(
    "form",
    {},
    element("label", { for: "customer" }, "Customer"),
    input,
    element("button", {}, "Show usage"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.search = new URLSearchParams({ customer: input.value }).toString();
  });
  return form;
}

async function run(): Promise<void> {
  const session = openSession();
  followNewLinks();
  const left = new AbortController();
  const found = new AbortController();
  await persist(
    async () => {
      const facts = await readPageFacts();
      byId("simulated").hidden = !facts.stripeSimulated;
      const api = openApi(session.token);
      const view =
        session.customerId === undefined
          ? new OperatorView(api, facts)
          : new CustomerView(api, facts, session.customerId);
      document.title = `${session.customerId ?? "Operations"} · usage`;
      main.replaceChildren(view.root);
      found.abort();
      await view.run((state) => {
        showLink(state);
        if (state.is !== "refused") return;
        left.abort();
        showRefusal(state, session);
      }, left.signal);
    },
    (state) => {
      if (!found.signal.aborted) showLink(state);
    },
    left.signal,
  );
}

await run();
