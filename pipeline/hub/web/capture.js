// Audio worklet: collects microphone audio into chunks of 16-bit samples.

class Capture extends AudioWorkletProcessor {
  constructor({ processorOptions: { frames } }) {
    super();
    this.frames = frames;
    this.chunk = new Int16Array(frames);
    this.filled = 0;
    this.loudest = 0;
  }

  process([channels]) {
    if (!channels?.length) return true;
    for (let i = 0; i < channels[0].length; i += 1) {
      let sample = 0;
      for (const channel of channels) sample += channel[i];
      sample = Math.max(-1, Math.min(1, sample / channels.length));
      this.loudest = Math.max(this.loudest, Math.abs(sample));
      this.chunk[this.filled] = Math.round(sample * 32767);
      this.filled += 1;
      if (this.filled === this.frames) this.post();
    }
    return true;
  }

  post() {
    const { buffer } = this.chunk;
    this.port.postMessage({ audio: buffer, loudest: this.loudest }, [buffer]);
    this.chunk = new Int16Array(this.frames); // the old buffer was transferred to the page
    this.filled = 0;
    this.loudest = 0;
  }
}

registerProcessor("pipeline-capture", Capture);
