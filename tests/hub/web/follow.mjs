// node follow.mjs URL '{"session": ..., ...}': prints each event as a line of JSON, then how it
// ended; with "answer" it returns that of every tool that waits for it, with "slow" it begins to read only once the connection waits for it.
import { connect } from "../../../pipeline/hub/web/client.js";

const [url, options] = process.argv.slice(2);
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const { slow, tokens, answer, ...wishes } = JSON.parse(options);
const paused = Promise.withResolvers();
const onState = (state) => {
  print({ state });
  if (state === "paused") paused.resolve();
};
try {
  if (tokens)
    wishes.token = async () => {
      const token = tokens.shift(); // another one for each connection
      if (token === null) throw new TypeError("who makes the tokens is not there");
      return token;
    };
  const events = connect(url, { ...wishes, onState });
  if (slow) await paused.promise;
  for await (const event of events) {
    print({ event });
    if (answer && event.awaits_result) events.toolResult(event.session_id, event.call_id, answer);
  }
  print({ over: true });
} catch (error) {
  print({ over: true, error: error.message, code: error.code });
}
