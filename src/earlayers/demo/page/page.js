import { axis, clock, element, lanes, layers, moveTo, neighbours, spoken, votes } from "./drawing.js";
import { Recording } from "./recording.js";

const LONGEST_RECORDING = 120; // seconds
const part = (id) => document.getElementById(id);
const player = part("player");
const other = new Audio(); // what plays the neighbours
let models = [];
let limits = { bytes: 0, seconds: 0 };
let model = null;
let song = null; // the last file, analysed again when another model is chosen
let analysis = null;
let asked = 0; // a number for every question: late answers to earlier ones are dropped
let recording = null;

async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error("The program behind this page does not answer: start it again (make demo), then reload.");
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.error ?? `The program behind this page failed (status ${answer.status}): its terminal says why.`);
  return content;
}

function complain(error) {
  part("status").textContent = "";
  part("error").textContent = error.message;
  part("error").hidden = false;
}

function say(text) {
  part("error").hidden = true;
  part("status").textContent = text;
}

const query = (values) => new URLSearchParams(values).toString();
const accuracy = (choice) => (choice.accuracy === null ? "not measured here" : `${choice.accuracy.toFixed(1)} %`);
const brief = (choice) => `${choice.method}, ${choice.hidden_units} units`;

function listModels() {
  part("model-rows").replaceChildren(
    ...models.map((choice, index) => {
      const button = element("input", { type: "radio", name: "model", id: `model-${index}`, checked: choice === model });
      button.addEventListener("change", () => choose(choice).catch(complain));
      const label = element("label", { htmlFor: button.id, textContent: choice.name });
      if (choice.champion) label.append(element("span", { className: "badge", textContent: `best of ${choice.dataset}` }));
      return element(
        "tr",
        {},
        element("td", {}, button),
        element("td", {}, label),
        element("td", { textContent: choice.dataset }),
        element("td", { textContent: choice.layer }),
        element("td", { className: "number", textContent: accuracy(choice) }),
      );
    }),
  );
}

async function choose(choice) {
  model = choice;
  const right = choice.accuracy === null ? "" : ` · ${choice.accuracy.toFixed(1)} % of test clips right`;
  part("chosen-model").textContent = `${brief(choice)} · trained on ${choice.dataset} · layer ${choice.layer}${right}`;
  if (song) analyse(song);
  const { clips } = await ask(`examples?${query({ model: choice.name })}`);
  if (choice !== model) return;
  part("examples").hidden = clips.length === 0;
  part("example-list").replaceChildren(
    ...clips.map((clip) => {
      const button = element("button", { type: "button", textContent: spoken(clip.genre), title: clip.title });
      button.addEventListener("click", () => tryExample(choice, clip));
      return button;
    }),
  );
}

const address = (choice, clip) => `clip?${query({ model: choice.name, number: clip.number })}`;

async function tryExample(choice, clip) {
  const answer = await fetch(address(choice, clip));
  if (!answer.ok) return complain(new Error("This clip is no longer on the disk: reload the page."));
  analyse(new File([await answer.blob()], `${clip.title} (in truth: ${spoken(clip.genre)})`));
}

async function analyse(file) {
  if (!model) return;
  const number = ++asked;
  if (file.size > limits.bytes) {
    return complain(new Error(`“${file.name}” holds ${Math.ceil(file.size / 2 ** 20)} MB, and at most ${limits.bytes / 2 ** 20} MB can be sent: take a shorter part of it, or the same as flac or mp3.`));
  }
  say(`Listening to “${file.name}” …`);
  document.body.classList.add("busy");
  try {
    const result = await ask(`analyses?${query({ model: model.name })}`, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
    if (number !== asked) return;
    say("");
    if (file !== song) {
      URL.revokeObjectURL(player.src);
      player.src = URL.createObjectURL(file);
      part("unplayable").hidden = true;
    }
    song = file;
    show(result, file.name);
  } catch (error) {
    if (number === asked) complain(error);
  } finally {
    if (number === asked) document.body.classList.remove("busy");
  }
}

function show(result, name) {
  analysis = result;
  stopOther();
  part("result").hidden = false;
  const windows = result.starts.length;
  const count = result.votes[result.genres.indexOf(result.genre)];
  part("name").textContent = name;
  part("genre").textContent = spoken(result.genre);
  const equals = result.genres.filter((genre, index) => genre !== result.genre && result.votes[index] === count).map(spoken);
  const tie = equals.length ? `, as many as for ${equals.join(" and ")}; its probabilities add up to more` : "";
  part("vote-line").textContent = `${count} of ${windows} ${windows === 1 ? "window votes" : "windows vote"} for it${tie}.`;
  part("known").textContent =
    `The model knows ${result.genres.length} genres and always names one of them: of other music it says what that resembles most.`;
  part("notes").replaceChildren(...result.warnings.split("; ").filter(Boolean).map((note) => element("li", { textContent: `About the file: ${note}` })));
  const length = result.window_seconds.toFixed(1);
  part("timeline-text").textContent =
    `How probable the classifier finds each genre in the ${length} s around a moment (a full bar is 100 %), in full colour where it leads. Click, or use the arrow keys, to go to a moment.`;
  part("layers-text").textContent =
    `Activations of hidden units over the same seconds, a row a unit: ${dark.matches ? "light" : "dark"} is high. The classifier is given their means and variances over each window${result.model.layer === "all" ? ", of all layers" : ` of layer ${result.model.layer}`}.`;
  part("votes-text").textContent = `Windows that each genre leads, and its mean probability.`;
  const { clips, note } = result.neighbours;
  part("neighbours-text").textContent = note
    ? `They cannot be shown: ${note}.`
    : `By the cosine between mean window vectors of layer ${result.model.layer}, standardised: 1 is alike. The song itself is left out.`;
  const { name: cell, dataset, fold, layer, commit, weights } = result.model;
  part("origin").textContent =
    `Answered by ${cell}, trained on ${dataset}${fold === null ? "" : `, fold ${fold}`}, layer ${layer}; ${commit ? `results of commit ${commit}` : "no commit known"}; weights ${weights}.`;
  part("cursor-track").setAttribute("aria-valuemax", result.seconds.toFixed(1));
  lanes(part("lanes"), result);
  axis(part("axis"), result.seconds);
  layers(part("layers"), result);
  votes(part("votes"), result);
  neighbours(part("neighbours"), result, hear);
  follow();
}

function hear(clip, button) {
  const same = other.dataset.number === String(clip.number) && !other.paused;
  stopOther();
  if (same) return;
  player.pause();
  other.dataset.number = clip.number;
  other.src = address(analysis.model, clip);
  other.play().catch(() => complain(new Error("This browser cannot play that clip.")));
  button.textContent = "■";
  button.classList.add("playing");
}

function stopOther() {
  other.pause();
  for (const button of document.querySelectorAll("button.playing")) {
    button.textContent = "▶";
    button.classList.remove("playing");
  }
}

function follow() {
  if (!analysis) return;
  moveTo(player.currentTime, analysis, part("lanes"), part("cursor"), part("cursor-track"));
  if (!player.paused) requestAnimationFrame(follow);
}

function seek(second) {
  player.currentTime = Math.max(0, Math.min(second, analysis.seconds - 0.01));
  follow();
}

async function toggleRecording() {
  const button = part("record");
  if (recording) {
    const ended = recording;
    recording = null;
    button.textContent = "Record";
    part("recording").hidden = true;
    return analyse(await ended.stop());
  }
  player.pause();
  stopOther();
  const started = new Recording(LONGEST_RECORDING, (seconds, level) => {
    part("level").value = level;
    part("recorded").textContent = `${clock(seconds)} of at most ${clock(LONGEST_RECORDING)}`;
    if (seconds >= LONGEST_RECORDING && recording === started) toggleRecording();
  });
  button.disabled = true; // while the browser asks whether it may listen
  try {
    await started.start();
  } catch (error) {
    const reason = error.name === "NotAllowedError" ? "the browser was not allowed to: allow it beside the address, then try again" : error.name === "NotFoundError" ? "there is no microphone: plug one in, or choose a file" : error.message;
    return complain(new Error(`Nothing can be recorded: ${reason}.`));
  } finally {
    button.disabled = false;
  }
  recording = started;
  say("");
  button.textContent = "Stop and analyse";
  part("recording").hidden = false;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => analysis && show(analysis, part("name").textContent));
new ResizeObserver(() => analysis && axis(part("axis"), analysis.seconds)).observe(part("axis"));

for (const event of ["play", "seeked", "timeupdate", "pause"]) player.addEventListener(event, follow);
player.addEventListener("play", stopOther);
player.addEventListener("error", () => (part("unplayable").hidden = false));
other.addEventListener("ended", stopOther);

const track = part("cursor-track");
function pointed(event) {
  const box = track.getBoundingClientRect();
  seek(((event.clientX - box.left) / box.width) * analysis.seconds);
}
track.addEventListener("pointerdown", (event) => {
  track.setPointerCapture(event.pointerId);
  pointed(event);
});
track.addEventListener("pointermove", (event) => track.hasPointerCapture(event.pointerId) && pointed(event));
track.addEventListener("keydown", (event) => {
  const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
  if (event.key in steps) seek(player.currentTime + steps[event.key]);
  else if (event.key === " ") player.paused ? player.play() : player.pause();
  else return;
  event.preventDefault();
});

part("choose").addEventListener("click", () => part("file").click());
part("record").addEventListener("click", toggleRecording);
part("file").addEventListener("change", ({ target }) => {
  if (target.files.length) analyse(target.files[0]);
  target.value = "";
});
const drop = part("drop");
for (const name of ["dragenter", "dragover"])
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
for (const name of ["dragleave", "drop"])
  document.addEventListener(name, (event) => {
    event.preventDefault();
    if (name === "drop" || event.relatedTarget === null) drop.classList.remove("over");
  });
document.addEventListener("drop", (event) => {
  const [file] = event.dataTransfer.files;
  if (file) analyse(file);
});

try {
  ({ models, limits } = await ask("models"));
  part("limits").textContent = `wav, flac, ogg, mp3 or au, up to ${limits.seconds / 60} minutes and ${limits.bytes / 2 ** 20} MB.`;
  model = models[0];
  listModels();
  await choose(model);
} catch (error) {
  complain(error);
}
