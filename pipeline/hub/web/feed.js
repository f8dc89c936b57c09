// Queue of events between a connection and its reader.

const MAX_WAITING = 5_000; // events that wait for their reader; then the connection is paused

/** Passes events to a callback, or keeps them until they are iterated over. */
export class Feed {
  #onEvent;
  #waiting = []; // events not read yet
  #readers = []; // readers that wait for an event
  #isOver = false;
  #error = null;
  #onRoom = () => {};

  constructor(onEvent) {
    this.#onEvent = onEvent ?? null;
  }

  get full() {
    return this.#waiting.length >= MAX_WAITING;
  }

  get isOver() {
    return this.#isOver;
  }

  push(event) {
    if (this.#isOver) return;
    if (this.#onEvent) this.#onEvent(event);
    else if (this.#readers.length) this.#readers.shift().resolve({ value: event, done: false });
    else this.#waiting.push(event);
  }

  /** End the feed; readers get `error` after the remaining events. */
  finish(error = null) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#error = error;
    this.#onRoom();
    for (const reader of this.#readers.splice(0)) this.#settle(reader);
  }

  #settle({ resolve, reject }) {
    const error = this.#error;
    this.#error = null; // once
    if (error) reject(error);
    else resolve({ value: undefined, done: true });
  }

  next() {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length) {
        resolve({ value: this.#waiting.shift(), done: false });
        if (this.#waiting.length <= MAX_WAITING / 2) this.#onRoom();
      } else if (this.#isOver) this.#settle({ resolve, reject });
      else this.#readers.push({ resolve, reject });
    });
  }

  /** Resolves once the reader has read half of the waiting events, or has stopped. */
  async room() {
    if (!this.full || this.#isOver) return;
    await new Promise((resolve) => (this.#onRoom = resolve));
    this.#onRoom = () => {};
  }
}
