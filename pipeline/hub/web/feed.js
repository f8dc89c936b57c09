// Events on their way to whoever reads them.

const INBOX = 5_000; // events that wait for their reader; then the connection waits, too

/** Gives events to a callback, or keeps them until they are iterated over. */
export class Feed {
  #onEvent;
  #waiting = []; // events that nobody has asked for yet
  #asking = []; // readers that wait for an event
  #isOver = false;
  #error = null;
  #onRoom = () => {};

  constructor(onEvent) {
    this.#onEvent = onEvent ?? null;
  }

  get full() {
    return this.#waiting.length >= INBOX;
  }

  get isOver() {
    return this.#isOver;
  }

  give(event) {
    if (this.#isOver) return;
    if (this.#onEvent) this.#onEvent(event);
    else if (this.#asking.length) this.#asking.shift().resolve({ value: event, done: false });
    else this.#waiting.push(event);
  }

  /** Nothing more will come; readers get `error` when they have read the rest. */
  finish(error = null) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#error = error;
    this.#onRoom();
    for (const reader of this.#asking.splice(0)) this.#last(reader);
  }

  #last({ resolve, reject }) {
    const error = this.#error;
    this.#error = null; // once
    if (error) reject(error);
    else resolve({ value: undefined, done: true });
  }

  next() {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length) {
        resolve({ value: this.#waiting.shift(), done: false });
        if (this.#waiting.length <= INBOX / 2) this.#onRoom();
      } else if (this.#isOver) this.#last({ resolve, reject });
      else this.#asking.push({ resolve, reject });
    });
  }

  /** Returns once the reader has caught up a good deal, or wants no more. */
  async room() {
    if (!this.full || this.#isOver) return;
    await new Promise((resolve) => (this.#onRoom = resolve));
    this.#onRoom = () => {};
  }
}
