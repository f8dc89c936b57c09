// The types of microphone.js.

import type { Session, SessionOptions } from "./client.js";

/** A microphone that records. */
export interface Microphone {
  /** hertz */
  readonly sampleRate: number;
  /** The name of the device, if the browser reveals it. */
  readonly label: string;
  stop(): void;
}

export interface MicrophoneOptions {
  /** Called with 50 ms of 16-bit mono samples and their peak level, 0 to 1. */
  onChunk: (audio: ArrayBuffer, loudest: number) => void;
  /** Called when the device is disconnected. */
  onEnd?: () => void;
  /** Additional constraints on the device. */
  constraints?: MediaTrackConstraints;
}

/** Start recording. Requests permission; requires https or localhost. */
export function openMicrophone(options: MicrophoneOptions): Promise<Microphone>;

/**
 * Start a session with audio from the microphone. Resolves once the session has started; up to
 * 3 s of audio before that are buffered.
 */
export function openMicrophoneSession(
  url: string | URL,
  options?: Omit<SessionOptions, "audio"> & { onLevel?: (loudest: number) => void },
): Promise<{ session: Session; microphone: Microphone }>;
