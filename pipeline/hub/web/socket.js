// Websockets as browsers and Node have them: opened, let go of, and why one was refused.

import { PipelineError } from "./resume.js";

const SUBPROTOCOL = "pipeline"; // offered beside the token: browsers cannot set headers

export function address(url, path) {
  const base = new URL(path, url);
  base.protocol = base.protocol.replace("http", "ws");
  return base;
}

/** The token of the next connection: `token` itself, or what it returns, a signed one say. */
export const nextToken = async (token) => (typeof token === "function" ? await token() : token);

export function dial(url, token) {
  try {
    return new WebSocket(url, token ? [SUBPROTOCOL, `bearer.${token}`] : []);
  } catch (error) {
    const advice = token ? "; a token is made of letters, digits and !#$%&'*+-.^_`|~" : "";
    throw new PipelineError(`cannot dial ${url}: ${error.message}${advice}`);
  }
}

/** Let go of a socket at once: the other side need not agree. */
export function abandon(socket) {
  socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
  if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
  else socket.close();
}

/**
 * Say why the server did not take a websocket, or null where it may yet: a browser does not
 * tell a page the status of a handshake that failed, so it is asked for again without one.
 */
export async function refusal(url, token, { renewable = false } = {}) {
  const plain = new URL(url);
  plain.protocol = plain.protocol.replace("ws", "http");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const answer = await fetch(plain, { headers, cache: "no-store" });
    if (![401, 403, 404, 421].includes(answer.status)) return null;
    if (renewable && answer.status === 401) return null; // this one is used up, or has expired
    return new PipelineError((await answer.text()).trim(), answer.status);
  } catch {
    return null; // out of reach, or not of this origin
  }
}

/** Wait, or return early once the browser is online again. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    globalThis.addEventListener?.("online", done);
    signal.addEventListener("abort", done);
  });
}
