// Websockets of browsers and Node: open, abandon, and the reason for a refusal.

import { PipelineError } from "./resume.js";

const SUBPROTOCOL = "pipeline"; // offered together with the token: browsers cannot set headers

export function address(url, path) {
  const base = new URL(path, url);
  base.protocol = base.protocol.replace("http", "ws");
  return base;
}

/** The token of the next connection: `token` itself, or the result of the function `token`. */
export const nextToken = async (token) => (typeof token === "function" ? await token() : token);

export function dial(url, token) {
  try {
    return new WebSocket(url, token ? [SUBPROTOCOL, `bearer.${token}`] : []);
  } catch (error) {
    const advice = token ? "; a token is made of letters, digits and !#$%&'*+-.^_`|~" : "";
    throw new PipelineError(`cannot connect to ${url}: ${error.message}${advice}`);
  }
}

/** Close a socket without waiting for the server. */
export function abandon(socket) {
  socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
  if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
  else socket.close();
}

/**
 * Return why the server refused a websocket, or null if a retry may succeed. Browsers hide the
 * status of a failed handshake from pages, so a plain request is sent to read it.
 */
export async function refusal(url, token, { renewable = false } = {}) {
  const plain = new URL(url);
  plain.protocol = plain.protocol.replace("ws", "http");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const answer = await fetch(plain, { headers, cache: "no-store" });
    if (![401, 403, 404, 421].includes(answer.status)) return null;
    if (renewable && answer.status === 401) return null; // this token is used or expired; the next one may be valid
    return new PipelineError((await answer.text()).trim(), answer.status);
  } catch {
    return null; // unreachable, or another origin
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
