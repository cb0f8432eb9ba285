"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const data = id => { const found = document.getElementById(id); return found ? JSON.parse(found.textContent) : null; };
const element = (name, text, attributes = {}) => {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

// Players: the versions of a recording share one position.
let playing = null;
for (const player of all(".player")) {
  const buttons = all("[data-show]", player), play = player.querySelector("[data-play]");
  const stage = player.querySelector(".stage"), cursor = player.querySelector(".cursor"), clock = player.querySelector(".clock");
  const seconds = Number(player.dataset.seconds);
  const audio = name => player.querySelector(`audio[data-of="${name}"]`);
  let shown = buttons[0].dataset.show, position = 0;
  const draw = () => {
    cursor.style.left = `${100 * position / seconds}%`;
    clock.textContent = `${position.toFixed(1)} s of ${seconds.toFixed(1)} s`;
  };
  const stop = () => {
    position = audio(shown).currentTime;
    audio(shown).pause();
    play.textContent = "▶ play";
    play.setAttribute("aria-pressed", "false");
    if (playing === stop) playing = null;
  };
  const step = () => {
    if (playing !== stop) return;
    position = audio(shown).currentTime;
    draw();
    requestAnimationFrame(step);
  };
  const begin = () => {
    if (playing) playing();
    const sound = audio(shown);
    sound.currentTime = position >= seconds - 0.01 ? 0 : position;
    sound.play().catch(() => {});  // a pause that comes at once interrupts it
    playing = stop;
    play.textContent = "❚❚ pause";
    play.setAttribute("aria-pressed", "true");
    requestAnimationFrame(step);
  };
  const show = name => {
    const going = playing === stop;
    if (going) stop();
    shown = name;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.show === name));
    for (const version of all("[data-version]", player)) version.hidden = version.dataset.version !== name;
    if (going) begin();
  };
  for (const button of buttons) button.addEventListener("click", () => show(button.dataset.show));
  play.addEventListener("click", () => playing === stop ? (stop(), draw()) : begin());
  for (const sound of all("audio", player)) sound.addEventListener("ended", () => { stop(); position = 0; draw(); });
  stage.addEventListener("click", event => {
    const box = stage.getBoundingClientRect(), going = playing === stop;
    if (going) stop();
    position = seconds * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    draw();
    if (going) begin();
  });
  show(shown);
  draw();
}

// The confusion matrix: the items of a cell.
const confusions = data("confusions");
if (confusions) {
  const place = document.querySelector(".cell-items"), sound = new Audio();
  const list = cell => {
    const [row, column] = cell.split(",").map(Number), items = confusions.cells[cell] || [];
    const count = confusions.counts[row][column], more = count > items.length ? `, the ${items.length} most confident of them` : "";
    const entries = element("ul", null);
    for (const [name, share, playable] of items) {
      const entry = element("li", share === null ? `${name} ` : `${name} (${Math.round(100 * share)} %) `);
      if (playable) {
        const button = element("button", "▶", { type: "button", "aria-label": `play ${name}` });
        button.addEventListener("click", () => { sound.src = confusions.sounds[name]; sound.play().catch(() => {}); });
        entry.append(button);
      }
      entries.append(entry);
    }
    const items_name = count === 1 ? confusions.item_name.replace(/s$/, "") : confusions.item_name;
    const classes = `${confusions.classes[row]} predicted as ${confusions.classes[column]}`;
    place.replaceChildren(element("strong", `${classes}: ${count} ${items_name}${more}`), entries);
  };
  for (const target of all("[data-cell]")) target.addEventListener("click", () => {
    list(target.dataset.cell);
    for (const other of all("[data-cell]")) other.classList.toggle("chosen", other === target);
    place.scrollIntoView({ block: "nearest" });
  });
}

// Tables that sort by a click on a column's head: figures as numbers, the rest as text.
for (const table of all("table.sortable")) {
  all("th", table).forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of all("th", table)) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].textContent.trim();
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)], [p, q] = [Number(x), Number(y)];
      if (x === "-" || y === "-") return (x === "-") - (y === "-");  // what is not known comes last, either way
      const order = Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q;
      return up ? order : -order;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  }));
}

// A sweep: any column of its table against any other.
const runs = document.querySelector("table.sortable");
if (runs && document.getElementById("scatter")) {
  const columns = all("th", runs).map(head => head.textContent.trim());
  const value = (row, name) => {
    const text = row.cells[columns.indexOf(name)].textContent.trim();
    return text === "-" ? null : Number.isNaN(Number(text)) ? text : Number(text);
  };
  const xAxis = document.getElementById("x-axis"), yAxis = document.getElementById("y-axis"), place = document.getElementById("scatter");
  const SVG = "http://www.w3.org/2000/svg", W = 440, H = 260, L = 62, R = 10, T = 10, B = 40;
  const node = (name, attributes, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const round = (low, high) => {
    const rough = (high - low) / 5, size = 10 ** Math.floor(Math.log10(rough)), step = size * [1, 2, 5, 10].find(m => size * m >= rough);
    const first = Math.ceil(low / step);
    return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => step * (first + i));
  };
  const decades = (low, high) => {
    const found = [];
    for (let power = Math.floor(low); power <= high; power++)
      for (const m of high - low > 2 ? [1] : [1, 2, 5]) found.push(m * 10 ** power);
    return found.filter(value => Math.log10(value) >= low && Math.log10(value) <= high);
  };
  const axis = (values, begin, end, own) => {
    const numbers = values.every(value => typeof value === "number");
    if (!numbers) {
      const names = [...new Set(values.map(String))].sort();
      const at = value => begin + (end - begin) * (names.indexOf(String(value)) + 0.5) / names.length;
      return { at, ticks: names.map(name => [name, at(name)]) };
    }
    const least = Math.min(...values), most = Math.max(...values), log = least > 0 && most > 20 * least;
    const f = log ? Math.log10 : value => value, room = 0.05 * (f(most) - f(least)) || 0.5 * Math.abs(f(most)) || 1;
    const low = f(least) - room, high = f(most) + room, at = value => begin + (end - begin) * (f(value) - low) / (high - low);
    const distinct = [...new Set(values)];
    const ticks = own && distinct.length <= 6 ? distinct : log ? decades(low, high) : round(low, high);
    const digits = log ? 4 : Math.max(4, 2 + Math.ceil(Math.log10(Math.max(1, 5 * Math.max(Math.abs(least), Math.abs(most)) / (high - low)))));
    return { at, ticks: ticks.map(value => [String(Number(value.toPrecision(digits))), at(value)]) };
  };
  const draw = () => {
    const points = all("tbody tr", runs).map(row => ({ x: value(row, xAxis.value), y: value(row, yAxis.value), row }))
      .filter(point => point.row.dataset.colour && point.x !== null && point.y !== null);
    const svg = node("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${yAxis.value} against ${xAxis.value}` });
    if (points.length) {
      const x = axis(points.map(point => point.x), L, W - R, true), y = axis(points.map(point => point.y), H - B, T, false);
      for (const [text, at] of y.ticks) {
        svg.append(node("line", { class: "grid", x1: L, x2: W - R, y1: at, y2: at }));
        svg.append(node("text", { x: L - 6, y: at + 4, "text-anchor": "end" }, text));
      }
      for (const [text, at] of x.ticks) svg.append(node("text", { x: at, y: H - B + 18, "text-anchor": "middle" }, text));
      svg.append(node("text", { x: (L + W) / 2, y: H - 6, "text-anchor": "middle" }, xAxis.value));
      svg.append(node("text", { transform: `translate(14 ${H / 2}) rotate(-90)`, "text-anchor": "middle" }, yAxis.value));
      for (const point of points) {
        const dot = node("circle", { class: `s${point.row.dataset.colour}`, cx: x.at(point.x), cy: y.at(point.y), r: 5 });
        dot.append(node("title", {}, point.row.cells[0].textContent.trim()));
        svg.append(dot);
      }
    }
    place.replaceChildren(points.length ? svg : element("p", "No run has both."));
  };
  xAxis.addEventListener("change", draw);
  yAxis.addEventListener("change", draw);
  draw();
}
