// What an analysis looks like. Names are set as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";
const percent = (share) => `${Math.round(100 * share)} %`;
const decimal = (value) => Number(value.toFixed(2)).toString();
// genres are keys: slip_jig reads better with a space
export const spoken = (key) => key.replaceAll("_", " ");

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function colour(node, value) {
  node.style.setProperty("--colour", value);
  return node;
}

// The seconds at which one window gives way to the next: halfway between their middles, so that each stands
// around the moment it describes. One more than there are windows.
export function edges({ starts, window_seconds: length }) {
  const inner = starts.slice(1).map((start, index) => (start + starts[index] + length) / 2);
  return [starts[0], ...inner, starts.at(-1) + length];
}

export function lanes(place, analysis) {
  const bounds = edges(analysis);
  const winners = analysis.probabilities.map((row) => row.indexOf(Math.max(...row)));
  place.replaceChildren(
    ...analysis.genres.map((genre, index) => {
      const shape = document.createElementNS(SVG, "svg");
      shape.setAttribute("viewBox", `0 0 ${analysis.seconds} 1`);
      shape.setAttribute("preserveAspectRatio", "none");
      shape.setAttribute("role", "img");
      shape.setAttribute("aria-label", `${spoken(genre)}: ${analysis.probabilities.map((row) => percent(row[index])).join(", ")}`);
      analysis.probabilities.forEach((row, window) => {
        const bar = document.createElementNS(SVG, "rect");
        bar.setAttribute("x", bounds[window]);
        bar.setAttribute("width", bounds[window + 1] - bounds[window]);
        bar.setAttribute("y", 1 - row[index]);
        bar.setAttribute("height", row[index]);
        if (winners[window] === index) bar.classList.add("winner");
        shape.append(bar);
      });
      const value = element("span", { className: "value" });
      return colour(element("div", { className: "lane" }, element("span", { className: "genre", textContent: spoken(genre) }), shape, value), analysis.colours[index]);
    }),
  );
}

export function axis(place, seconds) {
  const wanted = place.clientWidth < 420 ? 5 : 10;
  const step = [1, 2, 5, 10, 15, 30, 60, 120].find((size) => seconds / size <= wanted) ?? 120;
  const marks = [];
  for (let second = 0; second <= seconds; second += step) {
    const mark = element("span", { textContent: clock(second) });
    mark.style.left = `${(100 * second) / seconds}%`;
    marks.push(mark);
  }
  place.replaceChildren(element("div", {}, ...marks));
}

export const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

export function layers(place, analysis) {
  place.replaceChildren(
    ...analysis.layers.map((layer) => {
      const picture = element("canvas", { width: layer.values[0].length, height: layer.values.length });
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", `Activations of layer ${layer.name} over time`);
      picture.style.width = `${(100 * analysis.layers_seconds) / analysis.seconds}%`;
      paint(picture, layer.values);
      const asked = ["all", layer.name].includes(analysis.model.layer);
      const drawn = layer.units.length;
      const title = element("span", { className: "genre" }, element("b", { textContent: `layer ${layer.name}` }));
      title.append(element("small", { textContent: drawn < layer.of ? `${drawn} of ${layer.of} units` : `${drawn} units` }));
      if (asked) title.append(element("small", { className: "asked", textContent: "decides" }));
      const range = element("span", { className: "value" }, element("small", { textContent: `${decimal(layer.low)} to ${decimal(layer.high)}` }));
      return element("div", { className: "lane layer" }, title, element("div", {}, picture), range);
    }),
  );
}

function paint(picture, values) {
  const style = getComputedStyle(document.documentElement);
  const [low, middle, high] = ["--low", "--middle", "--high"].map((name) => rgb(style.getPropertyValue(name)));
  const context = picture.getContext("2d");
  const image = context.createImageData(picture.width, picture.height);
  const mixed = Uint8ClampedArray.from({ length: 256 * 3 }, (_, index) => {
    const share = Math.floor(index / 3) / 255;
    const [from, to, part] = share < 0.5 ? [low, middle, 2 * share] : [middle, high, 2 * share - 1];
    return from[index % 3] + part * (to[index % 3] - from[index % 3]);
  });
  values.flat().forEach((value, index) => {
    image.data.set(mixed.subarray(3 * value, 3 * value + 3), 4 * index);
    image.data[4 * index + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

const rgb = (text) => [1, 3, 5].map((place) => parseInt(text.trim().slice(place, place + 2), 16));

export function votes(place, analysis) {
  const windows = analysis.starts.length;
  const order = analysis.genres.map((_, index) => index);
  order.sort((one, other) => analysis.votes[other] - analysis.votes[one] || analysis.means[other] - analysis.means[one]);
  place.replaceChildren(
    ...order.map((index) => {
      const bar = element("span", { className: "bar" }, element("span"));
      bar.firstChild.style.width = `${(100 * analysis.votes[index]) / windows}%`;
      const count = element("span", { className: "count", textContent: `${analysis.votes[index]} of ${windows}` });
      const mean = element("span", { className: "count quiet", textContent: percent(analysis.means[index]) });
      return colour(element("li", { className: "vote" }, element("span", { className: "genre", textContent: spoken(analysis.genres[index]) }), bar, count, mean), analysis.colours[index]);
    }),
  );
}

export function neighbours(place, analysis, hear) {
  place.replaceChildren(
    ...analysis.neighbours.clips.map((clip) => {
      const words = element("span", { className: "words" }, element("span", { className: "genre", textContent: spoken(clip.genre) }), element("span", { className: "title", textContent: clip.title }));
      const likeness = element("span", { className: "count quiet", textContent: clip.similarity.toFixed(2) });
      const row = element("li", { className: "neighbour" }, words, likeness);
      if (clip.can_be_heard) {
        const button = element("button", { type: "button", className: "hear", textContent: "▶" });
        button.setAttribute("aria-label", `Hear ${clip.title}`);
        button.addEventListener("click", () => hear(clip, button));
        row.prepend(button);
      } else row.prepend(element("span", { className: "hear" }));
      return colour(row, analysis.colours[analysis.genres.indexOf(clip.genre)] ?? "#777777");
    }),
  );
}

// Move the cursor, and say what the window around it was given.
export function moveTo(second, analysis, lanesPlace, cursor, track) {
  const bounds = edges(analysis);
  const window = bounds.findLastIndex((bound) => second >= bound);
  cursor.style.left = `${(100 * Math.min(second, analysis.seconds)) / analysis.seconds}%`;
  const probabilities = analysis.probabilities[window];
  [...lanesPlace.children].forEach((lane, index) => {
    lane.querySelector(".value").textContent = probabilities ? percent(probabilities[index]) : "";
    lane.classList.toggle("leads", Boolean(probabilities) && probabilities[index] === Math.max(...probabilities));
  });
  track.setAttribute("aria-valuenow", second.toFixed(1));
  const leader = probabilities ? spoken(analysis.genres[probabilities.indexOf(Math.max(...probabilities))]) : "no whole window";
  track.setAttribute("aria-valuetext", `${clock(second)}, ${leader}`);
}
