// Console: the shown session, its subscription, and the actions of the buttons.

import { connect, openSession, PipelineError } from "./client.js";
import { find, make, write } from "./dom.js";
import { inspect } from "./inspector.js";
import { openMicrophoneSession } from "./microphone.js";
import { Model } from "./model.js";
import { drawSessions } from "./sessionlist.js";
import { drawFigures, View } from "./view.js";
import { answered, ending } from "./wording.js";

const POLL = 2_000; // milliseconds between two requests for the list of sessions
const HERE = location.origin;
const STORED = "pipeline.place"; // in sessionStorage: { session, seq } of the shown session
const TOKEN = "pipeline.token";

let token = sessionStorage.getItem(TOKEN) ?? "";
let model = new Model();
let following = null; // { id, subscription, resumeFrom, automatic }
let own = null; // { session, microphone } of the session that this page feeds
let picked = null; // the response that is inspected
let drawing = false;
let declined = false; // the user has closed the token dialog

const view = new View((response) => pick(response));

// --- the shown session -------------------------------------------------------------------------

/**
 * Show session `id`. `resumeFrom` is the newest event that this page had before a reload;
 * `automatic`: not chosen by the user, so a newer session may replace it.
 */
function follow(id, { resumeFrom = 0, automatic = false } = {}) {
  if (following?.id === id) return;
  following?.subscription.close();
  model = new Model();
  view.clear();
  pick(null);
  banner("");
  const subscription = connect(HERE, {
    session: id,
    afterSeq: 0,
    token: () => connectionToken("subscribe"),
    patience: Infinity,
    onEvent: (event) => following?.id === id && onEvent(event),
    onState: (state, cause) => following?.id === id && showState(state, cause),
  });
  following = { id, subscription, resumeFrom, automatic };
  const hash = `#${encodeURIComponent(id)}`;
  if (automatic) history.replaceState(null, "", hash);
  else if (location.hash !== hash) history.pushState(null, "", hash);
  document.title = `${id} · pipeline`;
  redraw();
  listSessions();
}

function onEvent(event) {
  model.apply(event);
  announce(event);
  if (following.resumeFrom && model.seq >= following.resumeFrom) {
    view.list.dataset.resumed = following.resumeFrom;
    following.resumeFrom = 0;
    showState(following.subscription.state);
  }
  redraw();
}

/** Store the position, for a reload of this page. */
function remember() {
  if (!following || model.seq === 0) return;
  const seq = Math.max(model.seq, following.resumeFrom);
  sessionStorage.setItem(STORED, JSON.stringify({ session: following.id, seq }));
}

/** Draw at most once per frame. */
function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const changed = new Set(model.changed);
    view.draw(model);
    view.list.dataset.seq = model.seq;
    remember();
    drawFigures(model);
    drawEngines();
    drawComposer();
    if (picked && changed.has(picked)) inspect(picked, actions(picked));
  });
}

const WORDS = {
  connecting: "connecting…",
  live: "live",
  waiting: "connection lost, reconnecting…",
  paused: "paused",
  closed: "closed",
};

function showState(state, cause = "") {
  const pill = find("connection");
  let words = WORDS[state];
  let shown = state;
  if (state === "live" && following.resumeFrom) {
    words = `resuming ${model.seq} of ${following.resumeFrom}`;
    shown = "connecting";
  } else if (model.session?.status === "ended") {
    [words, shown] = ["ended", "ended"];
  }
  pill.dataset.state = shown;
  pill.title = cause;
  write(pill, words);
  if (state === "closed" && cause) refused(cause);
}

function refused(cause) {
  const isGone = cause.startsWith("there is no session");
  if (isGone) {
    sessionStorage.removeItem(STORED);
    banner(`${cause}: it has ended and is no longer stored.`);
  } else {
    banner(cause);
    if (cause.includes("token")) askForToken(cause);
  }
}

function drawEngines() {
  const { stt, llm, prompts, source } = model.session ?? {};
  const chips = [
    source && `source ${source}`,
    named("stt", stt),
    named("llm", llm),
    prompts && `prompts ${prompts.join(", ")}`,
  ];
  const shown = chips.filter(Boolean);
  const element = find("engines");
  if (element.dataset.shown === shown.join("|")) return;
  element.dataset.shown = shown.join("|");
  element.replaceChildren(...shown.map((text) => make("span", { class: "pill" }, text)));
}

function named(role, engine) {
  if (!engine || engine.name === "none") return null;
  return `${role} ${engine.name}${engine.model ? `/${engine.model}` : ""}`;
}

/** Announce new complete texts to screen readers. */
function announce(event) {
  let said = null;
  if (event.type === "turn.completed") said = `Turn ${event.turn}: ${event.text}`;
  if (event.type === "response.done") {
    const response = model.responses.get(event.response_id);
    said = `${response.prompt} to ${answered(response.turns)}: ${ending(response) || response.text}`;
  }
  if (!said || following.resumeFrom) return;
  const log = find("announcer");
  log.append(make("p", {}, said));
  while (log.childElementCount > 5) log.firstElementChild.remove();
}

function banner(text) {
  const element = find("banner");
  element.hidden = !text;
  write(element, text);
}

// --- the list of sessions ----------------------------------------------------------------------

async function listSessions() {
  if (document.hidden) return;
  if (isSigned(token)) return; // a signed token opens the session in the address only
  let answer;
  try {
    answer = await request("/v1/sessions");
  } catch {
    if (!following) {
      find("connection").dataset.state = "waiting";
      write(find("connection"), "server unreachable");
    }
    return;
  }
  if (answer.ok) showSessions((await answer.json()).sessions);
  else if ([401, 403].includes(answer.status)) askForToken((await answer.text()).trim());
}

function showSessions(sessions) {
  const newestFirst = sessions.toReversed();
  drawSessions(newestFirst, following?.id);
  if (!following || (following.automatic && model.session?.status === "ended")) {
    const live = newestFirst.find(({ status }) => status === "live");
    const next = live ?? (following ? null : newestFirst[0]);
    if (next) follow(next.id, { automatic: true });
  }
  if (!following) {
    find("connection").dataset.state = "live";
    write(find("connection"), "ready");
    find("empty").hidden = false;
  }
}

function showSessionList(isShown) {
  document.body.classList.toggle("listing", isShown);
  find("show-sessions").setAttribute("aria-expanded", String(isShown));
}

// --- inspecting --------------------------------------------------------------------------------

function pick(response) {
  picked = response;
  view.mark(response);
  inspect(response, response ? actions(response) : {});
}

function actions(response) {
  if (response.status !== "in_progress" || !isOwn()) return {};
  return { cancel: () => own.session.cancelResponse(response.id) };
}

function move(step) {
  const all = [...model.turns.values()].flatMap((turn) => turn.responses);
  if (!all.length) return;
  const at = all.indexOf(picked);
  const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step;
  const response = all[Math.max(0, Math.min(all.length - 1, next))];
  pick(response);
  view.focus(response);
}

// --- sessions of this page ---------------------------------------------------------------------

const isOwn = () => own !== null && own.session.id === following?.id;

/** Options of every session of this page; its events arrive through the subscription. */
const ownOptions = () => ({ token: () => connectionToken("ingest,control"), events: ["session.*"], onEvent: showError });

function showError(event) {
  if (event.type === "error") banner(event.error.message);
}

function showOwn(session, microphone = null) {
  const mine = (own = { session, microphone });
  follow(session.id);
  drawOwn();
  ended(session).then(() => {
    microphone?.stop();
    if (own === mine) own = null;
    drawOwn();
  });
}

/** Resolves once the page's session has ended or its connection is lost. */
async function ended(session) {
  try {
    await session.over;
  } catch (error) {
    banner(error.message);
  }
}

function endOwn() {
  own?.microphone?.stop();
  own?.session.end();
}

async function toggleMicrophone() {
  if (own?.microphone) return endOwn();
  endOwn();
  const button = find("microphone");
  button.disabled = true;
  banner("");
  try {
    const meter = button.querySelector(".meter i");
    const onLevel = (level) => (meter.style.width = `${Math.round(100 * Math.sqrt(level))}%`);
    const { session, microphone } = await openMicrophoneSession(HERE, { ...ownOptions(), onLevel });
    showOwn(session, microphone);
  } catch (error) {
    banner(microphoneError(error));
  } finally {
    button.disabled = false;
  }
}

function microphoneError(error) {
  if (error.name === "NotAllowedError") return "The browser did not allow the microphone.";
  if (error.name === "NotFoundError") return "There is no microphone.";
  return error.message;
}

async function send(event) {
  event.preventDefault();
  const field = find("text");
  const text = field.value.trim();
  if (!text) return;
  const button = find("send");
  if (button.disabled) return; // the session for the previous text is about to start
  button.disabled = true;
  field.value = "";
  banner("");
  try {
    if (!isOwn()) await beginTextSession();
    own.session.createTurn(text);
  } catch (error) {
    field.value ||= text;
    banner(error.message);
    if (error instanceof PipelineError && error.code === 401) askForToken(error.message);
  } finally {
    button.disabled = false;
  }
}

async function beginTextSession() {
  endOwn();
  const session = openSession(HERE, { ...ownOptions(), audio: null });
  await session.started;
  showOwn(session);
}

function drawOwn() {
  const isRecording = Boolean(own?.microphone);
  const button = find("microphone");
  button.setAttribute("aria-pressed", String(isRecording));
  write(button.querySelector(".label"), isRecording ? "Stop" : "Microphone");
  drawComposer();
}

function drawComposer() {
  const hint = isOwn()
    ? "Goes into this session."
    : following
      ? "Starts a new session: this one has another source."
      : "Starts a new session.";
  write(find("composer-hint"), hint);
  const live = [...model.responses.values()].some(({ status }) => status === "in_progress");
  find("cancel").hidden = !(isOwn() && live);
}

// --- tokens, keys ------------------------------------------------------------------------------

const isSigned = (text) => text.split(".").length === 3;

function request(path, method = "GET") {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  return fetch(path, { method, headers, cache: "no-store" });
}

/** A token for one connection: a signed one if the server issues them, else the page's own. */
async function connectionToken(scope) {
  if (!token || isSigned(token)) return token;
  const answer = await request(`/v1/tokens?scope=${scope}`, "POST").catch(() => null);
  if (answer?.status === 401) throw new PipelineError((await answer.text()).trim(), 401);
  return answer?.ok ? (await answer.json()).token : token;
}

/** Show the token dialog, but not again automatically after the user has declined it. */
function askForToken(why, { again = false } = {}) {
  const dialog = find("token-dialog");
  find("token").hidden = false;
  if (dialog.open || (declined && !again)) return;
  write(find("token-why"), `The server says: ${why}`);
  find("token-text").value = "";
  dialog.showModal();
}

function declineToken() {
  declined = true;
  find("token-dialog").close();
}

function useToken(event) {
  event.preventDefault();
  declined = false;
  token = find("token-text").value.trim();
  sessionStorage.setItem(TOKEN, token);
  find("token-dialog").close();
  banner("");
  const id = following?.id;
  if (id) {
    following.subscription.close();
    following = null;
    follow(id);
  } else listSessions();
}

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  "/": () => find("text").focus(),
  m: () => toggleMicrophone(),
  "?": () => find("keys-dialog").showModal(),
  End: () => view.toEnd(),
  Escape: () => pick(null),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]"))
    return;
  const isTyping = event.target.matches?.("input, textarea, select");
  if (isTyping && event.key === "Escape") event.target.blur();
  if (isTyping || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
}

// --- at the start ------------------------------------------------------------------------------

function fromAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED)) ?? {};
  } catch {
    return {};
  }
}

function start() {
  find("composer").addEventListener("submit", send);
  find("cancel").addEventListener("click", () => own?.session.cancelResponse());
  find("microphone").addEventListener("click", toggleMicrophone);
  find("token").addEventListener("click", () =>
    askForToken("choose another token, or none", { again: true }),
  );
  find("token-form").addEventListener("submit", useToken);
  find("token-cancel").addEventListener("click", declineToken);
  find("token-dialog").addEventListener("cancel", declineToken);
  find("keys").addEventListener("click", () => find("keys-dialog").showModal());
  find("keys-close").addEventListener("click", () => find("keys-dialog").close());
  find("close-inspector").addEventListener("click", () => pick(null));
  find("show-sessions").addEventListener("click", () =>
    showSessionList(!document.body.classList.contains("listing")),
  );
  find("session-list").addEventListener("click", () => showSessionList(false));
  document.addEventListener("keydown", onKey);
  addEventListener("popstate", () => fromAddress() && follow(fromAddress()));
  document.addEventListener("visibilitychange", listSessions);
  setInterval(listSessions, POLL);
  find("token").hidden = !token;
  drawFigures(model);
  drawComposer();
  const before = stored();
  const id = fromAddress() || before.session;
  if (id) follow(id, { resumeFrom: before.session === id ? before.seq : 0 });
  else listSessions();
}

start();
