// A browser's microphone as the source of a session. The audio goes out as it is recorded, at
// the sample rate of the device: the server resamples.

import { openSession } from "./client.js";

const CHUNK = 0.05; // seconds of audio in a message
const EARLY = 60; // chunks kept until the session has begun: 3 s; the oldest go first
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

  /** The name of the device, if the browser tells. */
  get label() {
    return this.#stream.getAudioTracks()[0]?.label ?? "";
  }

  stop() {
    for (const track of this.#stream.getTracks()) track.stop();
    if (this.#context.state !== "closed") this.#context.close();
  }
}

/**
 * Record. `onChunk` is given an ArrayBuffer of 16-bit mono samples every 50 ms, and how loud it
 * is at most (0 to 1); `onEnd` is called when the device is gone. Asks for permission, and needs
 * https or localhost.
 */
export async function openMicrophone({ onChunk, onEnd = () => {}, constraints = {} }) {
  if (!navigator.mediaDevices) throw new Error("a microphone needs https, or localhost");
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
 * Begin a session that hears the microphone; `options` are those of `openSession`, and
 * `onLevel`. Resolves once the session has begun. What is said meanwhile is kept, 3 s of it.
 */
export async function openMicrophoneSession(url, { onLevel = () => {}, ...options } = {}) {
  let session = null;
  let early = [];
  const onChunk = (audio, loudest) => {
    onLevel(loudest);
    if (session?.id) session.audio(audio);
    else early = [...early.slice(1 - EARLY), audio];
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
