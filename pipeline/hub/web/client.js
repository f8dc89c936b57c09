// Client of the push protocol without dependencies, for browsers and Node 22.7 or newer.
//
//   import { connect, openSession } from "./client.js";
//
//   for await (const event of connect("ws://127.0.0.1:8780", { session: "s_1", afterSeq: 0 })) …
//
//   const session = openSession("ws://127.0.0.1:8780", { audio: null });
//   session.createTurn("What time is it?");
//   for await (const event of session) …
//
// A lost connection is resumed where it broke: no event is missed or delivered twice.

import { Session } from "./session.js";
import { Subscription } from "./subscription.js";

export { mayReconnect, PipelineError } from "./resume.js";
export { Session, Subscription };

/** Subscribe to one session, or all of them, at `url` (ws://host:port). */
export function connect(url, options = {}) {
  return new Subscription(url, options);
}

/** Start a session at `url`, with this client as its source. */
export function openSession(url, options = {}) {
  return new Session(url, options);
}
