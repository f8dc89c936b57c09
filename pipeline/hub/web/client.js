// A client of the push protocol without dependencies: browsers, and Node 22.7 or newer.
//
//   import { connect, openSession } from "./client.js";
//
//   for await (const event of connect("ws://127.0.0.1:8780", { session: "s_1", afterSeq: 0 })) …
//
//   const session = openSession("ws://127.0.0.1:8780", { audio: null });
//   session.createTurn("What time is it?");
//   for await (const event of session) …
//
// A lost connection is taken up where it broke: no event is missed, none comes twice.

import { Session } from "./session.js";
import { Subscription } from "./subscription.js";

export { mayReconnect, PipelineError } from "./resume.js";
export { Session, Subscription };

/** Follow one session, or all of them, at `url` (ws://host:port). */
export function connect(url, options = {}) {
  return new Subscription(url, options);
}

/** Begin a session of our own at `url`: what is said to it, and its events. */
export function openSession(url, options = {}) {
  return new Session(url, options);
}
