// The types of microphone.js.

import type { Session, SessionOptions } from "./client.js";

/** A microphone that records. */
export interface Microphone {
  /** hertz */
  readonly sampleRate: number;
  /** The name of the device, if the browser tells. */
  readonly label: string;
  stop(): void;
}

export interface MicrophoneOptions {
  /** Is given 50 ms of 16-bit mono samples, and how loud they are at most, 0 to 1. */
  onChunk: (audio: ArrayBuffer, loudest: number) => void;
  /** Is told when the device is gone. */
  onEnd?: () => void;
  /** What else is wanted of the device. */
  constraints?: MediaTrackConstraints;
}

/** Record. Asks for permission, and needs https or localhost. */
export function openMicrophone(options: MicrophoneOptions): Promise<Microphone>;

/**
 * Begin a session that hears the microphone. Resolves once the session has begun; what is said
 * meanwhile is kept, 3 s of it.
 */
export function openMicrophoneSession(
  url: string | URL,
  options?: Omit<SessionOptions, "audio"> & { onLevel?: (loudest: number) => void },
): Promise<{ session: Session; microphone: Microphone }>;
