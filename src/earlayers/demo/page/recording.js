// The microphone as a 16-bit WAV file: what browsers record by themselves (WebM) few decoders read.

export class Recording {
  constructor(longestSeconds, onProgress) {
    this.longestSeconds = longestSeconds;
    this.onProgress = onProgress;
    this.blocks = [];
    this.samples = 0;
  }

  async start() {
    // music, not speech: nothing is to be cleaned, levelled or cancelled
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio });
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("recorder.js");
    const recorder = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 });
    recorder.port.onmessage = ({ data }) => this.take(data);
    this.context.createMediaStreamSource(this.stream).connect(recorder);
    await this.context.resume();
  }

  take(block) {
    if (this.samples >= this.longestSeconds * this.context.sampleRate) return;
    this.blocks.push(block);
    this.samples += block.length;
    this.onProgress(this.samples / this.context.sampleRate, block.reduce((most, value) => Math.max(most, Math.abs(value)), 0));
  }

  async stop() {
    for (const track of this.stream.getTracks()) track.stop();
    const rate = this.context.sampleRate;
    await this.context.close();
    return wav(this.blocks, this.samples, rate);
  }
}

function wav(blocks, samples, rate) {
  const bytes = new DataView(new ArrayBuffer(44 + 2 * samples));
  const text = (place, letters) => [...letters].forEach((letter, index) => bytes.setUint8(place + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  bytes.setUint32(4, 36 + 2 * samples, true);
  text(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true); // length of what describes the format
  bytes.setUint16(20, 1, true); // whole numbers
  bytes.setUint16(22, 1, true); // one channel
  bytes.setUint32(24, rate, true);
  bytes.setUint32(28, 2 * rate, true); // bytes a second
  bytes.setUint16(32, 2, true); // bytes a sample of all channels
  bytes.setUint16(34, 16, true); // bits a sample
  text(36, "data");
  bytes.setUint32(40, 2 * samples, true);
  let place = 44;
  for (const block of blocks)
    for (const value of block) {
      bytes.setInt16(place, Math.round(32767 * Math.max(-1, Math.min(1, value))), true);
      place += 2;
    }
  return new File([bytes], "recording.wav", { type: "audio/wav" });
}
