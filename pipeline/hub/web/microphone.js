// Browser microphone as the source of a session. Audio is sent as it is recorded, at the sample
// rate of the device: the server resamples.

import { openSession } from "./client.js";

const CHUNK = 0.05; // seconds of audio in a message
const MAX_EARLY = 60; // chunks buffered until the session has started: 3 s; oldest dropped first
const WORKLET = new URL("./capture.js", import.meta.url);

/** A microphone that records. */
class Microphone {
  #context;
  #stream;

  constructor(context, stream) {
    this.#context = context;
    this.#stream = stream;
  }

  get sampleRate() {
    return this.#context.sampleRate;
  }

  /** The name of the device, if the browser reveals it. */
  get label() {
    return this.#stream.getAudioTracks()[0]?.label ?? "";
  }

  stop() {
    for (const track of this.#stream.getTracks()) track.stop();
    if (this.#context.state !== "closed") this.#context.close();
  }
}

/**
 * Start recording. `onChunk` is called every 50 ms with an ArrayBuffer of 16-bit mono samples and
 * their peak level (0 to 1); `onEnd` is called when the device is disconnected. Requests
 * permission; requires https or localhost.
 */
export async function openMicrophone({ onChunk, onEnd = () => {}, constraints = {} }) {
  if (!navigator.mediaDevices) throw new Error("a microphone requires https or localhost");
  const audio = {
    channelCount: 1,
    echoCancellation: true,
    autoGainControl: true,
    noiseSuppression: false,
    ...constraints,
  };
  const stream = await navigator.mediaDevices.getUserMedia({ audio });
  const context = new AudioContext({ sinkId: { type: "none" } }); // nothing is played here
  const microphone = new Microphone(context, stream);
  try {
    await context.audioWorklet.addModule(WORKLET);
    await context.resume();
    const frames = Math.round(context.sampleRate * CHUNK);
    const capture = new AudioWorkletNode(context, "pipeline-capture", {
      numberOfOutputs: 0,
      processorOptions: { frames },
    });
    capture.port.onmessage = ({ data }) => onChunk(data.audio, data.loudest);
    context.createMediaStreamSource(stream).connect(capture);
  } catch (error) {
    microphone.stop();
    throw error;
  }
  stream.getAudioTracks()[0].addEventListener("ended", onEnd);
  return microphone;
}

/**
 * Start a session with audio from the microphone; `options` are those of `openSession`, and
 * `onLevel`. Resolves once the session has started; up to 3 s of audio before that are buffered.
 */
export async function openMicrophoneSession(url, { onLevel = () => {}, ...options } = {}) {
  let session = null;
  let early = [];
  const onChunk = (audio, loudest) => {
    onLevel(loudest);
    if (session?.id) session.audio(audio);
    else early = [...early.slice(1 - MAX_EARLY), audio];
  };
  const microphone = await openMicrophone({ onChunk, onEnd: () => session?.end() });
  const { sampleRate } = microphone;
  const audio = { encoding: "pcm_s16le", sample_rate: sampleRate, channels: 1 };
  session = openSession(url, { ...options, audio });
  try {
    await session.started;
  } catch (error) {
    microphone.stop();
    throw error;
  }
  for (const chunk of early) session.audio(chunk);
  return { session, microphone };
}
