// List of sessions.

import { find, make, write } from "./dom.js";

/** Draw `sessions`, of which `current` is shown. Rows are reused, so that the focus is kept. */
export function drawSessions(sessions, current) {
  write(find("session-count"), sessions.length ? String(sessions.length) : "");
  find("no-sessions").hidden = sessions.length > 0;
  const list = find("session-list");
  const rows = new Map([...list.children].map((row) => [row.dataset.session, row]));
  const drawn = sessions.map((info) => drawRow(info, rows.get(info.id), info.id === current));
  if (drawn.some((row, i) => row !== list.children[i]) || drawn.length !== list.childElementCount) {
    list.replaceChildren(...drawn);
  }
}

function drawRow(info, row, isCurrent) {
  const known =
    row ??
    make(
      "li",
      { "data-session": info.id },
      make(
        "a",
        { href: `#${encodeURIComponent(info.id)}` },
        make("span", { class: "name" }, info.id),
        make("span", { class: "about" }),
      ),
    );
  const [link] = known.children;
  const started = info.started ? new Date(info.started).toLocaleTimeString() : "";
  const about = [info.status, info.source, started, `${info.head} events`].filter(Boolean);
  write(link.lastElementChild, about.join(" · "));
  link.dataset.status = info.status;
  if (isCurrent) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
  return known;
}
