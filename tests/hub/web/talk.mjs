// node talk.mjs URL '{"audio": ..., ...}': feeds a session what stands on its standard input, one
// call a line as ["method", ...arguments], and prints its events as lines of JSON.
import { createInterface } from "node:readline";

import { openSession } from "../../../pipeline/hub/web/client.js";

const [url, options] = process.argv.slice(2);
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const session = openSession(url, JSON.parse(options));
const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const [method, ...rest] = JSON.parse(line);
  if (method === "audio") {
    await session.started;
    session.audio(new Uint8Array(rest[0]));
  } else session[method](...rest);
});
try {
  for await (const event of session) print({ event });
  print({ over: true });
} catch (error) {
  print({ over: true, error: error.message, code: error.code });
}
lines.close();
