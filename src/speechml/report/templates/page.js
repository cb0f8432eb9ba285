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

// Drawing: one kind of axis for all charts.
const SVG = "http://www.w3.org/2000/svg";
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
  const found = [], wide = high - low;
  for (let power = Math.floor(low); power <= high; power += Math.ceil(wide / 6))
    for (const m of wide > 2 ? [1] : [1, 2, 5]) found.push(m * 10 ** power);
  return found.filter(value => Math.log10(value) >= low && Math.log10(value) <= high);
};
const written = (value, digits) => {
  const near = Number(value.toPrecision(digits)), size = Math.abs(near);
  return near && (size < 1e-3 || size >= 1e5) ? near.toExponential().replace("e+", "e") : String(near);
};
const axis = (values, begin, end, { log = false, own = false } = {}) => {
  if (!values.every(value => typeof value === "number")) {
    const names = [...new Set(values.map(String))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const at = value => begin + (end - begin) * (names.indexOf(String(value)) + 0.5) / names.length;
    return { at, ticks: names.map(name => [name, at(name)]) };
  }
  let least = Infinity, most = -Infinity;
  for (const value of values) { least = Math.min(least, value); most = Math.max(most, value); }
  const f = log && least > 0 ? Math.log10 : value => value, room = 0.05 * (f(most) - f(least)) || 0.5 * Math.abs(f(most)) || 1;
  const low = f(least) - room, high = f(most) + room, at = value => begin + (end - begin) * (f(value) - low) / (high - low);
  const distinct = [...new Set(values)], spaced = distinct.map(at).sort((a, b) => a - b);
  const clear = distinct.length <= 6 && spaced.every((place, i) => !i || place - spaced[i - 1] > 34);
  const ticks = own && clear ? distinct : f === Math.log10 ? decades(low, high) : round(low, high);
  const digits = log ? 4 : Math.max(4, 2 + Math.ceil(Math.log10(Math.max(1, 5 * Math.max(Math.abs(least), Math.abs(most)) / (high - low)))));
  return { at, ticks: ticks.map(value => [written(value, digits), at(value)]) };
};

// A chart: lines, steps and dots against two axes, and horizontal levels.
const W = 440, H = 260, L = 62, R = 10, T = 10, B = 40;
const chart = ({ title, x, y, series, levels = [], x_log, y_log }) => {
  const svg = node("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": title });
  const points = series.flatMap(one => one.points);
  const across = axis(points.map(([a]) => a), L, W - R, { log: x_log, own: true });
  const up = axis([...points.map(([, b]) => b), ...levels.map(level => level.value)], H - B, T, { log: y_log });
  for (const [text, at] of up.ticks) svg.append(
    node("line", { class: "grid", x1: L, x2: W - R, y1: at, y2: at }), node("text", { x: L - 6, y: at + 4, "text-anchor": "end" }, text));
  for (const [text, at] of across.ticks) svg.append(node("text", { x: at, y: H - B + 18, "text-anchor": "middle" }, text));
  svg.append(node("text", { x: (L + W) / 2, y: H - 6, "text-anchor": "middle" }, x));
  svg.append(node("text", { transform: `translate(14 ${H / 2}) rotate(-90)`, "text-anchor": "middle" }, y));
  for (const level of levels)
    svg.append(node("line", { class: `level ${level.colour}`, x1: L, x2: W - R, y1: up.at(level.value), y2: up.at(level.value) }));
  for (const { name, colour, points, form, titles = [] } of series) {
    const group = node("g", { class: colour });
    const places = points.map(([a, b]) => [across.at(a), up.at(b)].map(place => place.toFixed(1)));
    if (form !== "dots" && points.length > 1) {
      const path = places.map(([a, b], i) => form === "step" && i ? `H${a}V${b}` : `${i ? "L" : "M"}${a} ${b}`).join("");
      group.append(node("path", { class: series.length > 8 ? "line many" : "line", d: path }));
    }
    if (form === "dots" || (form === "line" && points.length <= 20 && series.length <= 8))
      places.forEach(([cx, cy], i) => {
        const dot = node("circle", { cx, cy, r: form === "dots" ? 4 : 2.5 });
        if (titles[i]) dot.append(node("title", {}, titles[i]));
        group.append(dot);
      });
    if (!titles.length) group.append(node("title", {}, name));
    svg.append(group);
  }
  return svg;
};
const legend = entries => {
  const list = element("ul", null, { class: "legend" });
  for (const [name, kind] of entries) list.append(element("li", name, { class: kind }));
  return list;
};
for (const place of all("[data-chart]")) {
  const spec = JSON.parse(place.dataset.chart), { series, levels } = spec;
  const named = spec.legend && series.length <= 8 ? series.map(one => [one.name, `${one.colour} ${one.form === "dots" ? "dots" : ""}`]) : [];
  const entries = [...named, ...levels.map(level => [level.name, `${level.colour} level`])];
  place.append(element("figcaption", null), chart(spec), ...(entries.length > 1 || levels.length ? [legend(entries)] : []));
  place.firstChild.append(element("b", spec.title));
}

// Rows: a name above a line of its own, on one scale: shares as bars, or the values of each seed with their mean.
const rows = (count, label) => {
  const step = 34, height = count * step + 34;
  return { step, height, svg: node("svg", { viewBox: `0 0 ${W} ${height}`, role: "img", "aria-label": label }) };
};
for (const place of all("[data-bars]")) {
  const bars = JSON.parse(place.dataset.bars), { svg, step } = rows(bars.length, "importance of keys");
  const most = Math.max(...bars.map(([, share]) => share)) || 1;
  bars.forEach(([key, share], i) => svg.append(
    node("text", { class: "name", x: 4, y: i * step + 14 }, key), node("rect", { class: "s0", x: 4, y: i * step + 19, height: 9, width: Math.max(1, 360 * share / most) }),
    node("text", { x: 12 + 360 * share / most, y: i * step + 28 }, `${Math.round(100 * share)} %`)));
  svg.setAttribute("viewBox", `0 0 ${W} ${bars.length * step + 4}`);
  place.append(element("figcaption", null), svg);
  place.firstChild.append(element("b", "importance"));
}
for (const place of all("[data-spread]")) {
  const spec = JSON.parse(place.dataset.spread), more = element("button", `show all ${spec.rows.length}`, { type: "button" });
  const draw = shown => {
    const { svg, step, height } = rows(shown.length, `${spec.by} of every run by setting`);
    const all = shown.flatMap(row => row.points.map(([, value]) => value)), least = Math.min(...all);
    const scale = axis(all, 10, W - 10, { log: spec.log });
    for (const [text, at] of scale.ticks) svg.append(
      node("line", { class: "grid", x1: at, x2: at, y1: 0, y2: height - 32 }), node("text", { x: at, y: height - 18, "text-anchor": "middle" }, text));
    svg.append(node("text", { x: W / 2, y: height - 3, "text-anchor": "middle" }, spec.by));
    shown.forEach(({ name, colour, points }, i) => {
      const y = i * step + 24, values = points.map(([, value]) => value), mean = values.reduce((a, b) => a + b, 0) / values.length;
      const deviation = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / Math.max(1, values.length - 1));
      const group = node("g", { class: colour });
      if (values.length > 1) group.append(node("line", { class: "band", x1: scale.at(Math.max(spec.log ? least : -Infinity, mean - deviation)), x2: scale.at(mean + deviation), y1: y, y2: y }));
      for (const [run, value] of points) {
        const dot = node("circle", { cx: scale.at(value), cy: y, r: 4 });
        dot.append(node("title", {}, `${run}: ${value}`));
        group.append(dot);
      }
      group.append(node("line", { class: "mean", x1: scale.at(mean), x2: scale.at(mean), y1: y - 7, y2: y + 7 }));
      svg.append(node("text", { class: "name", x: 4, y: y - 11 }, name), group);
    });
    place.replaceChildren(svg, ...(shown.length < spec.rows.length ? [more] : []));
  };
  more.addEventListener("click", () => draw(spec.rows));
  draw(spec.rows.slice(0, 12));
}

// Parallel coordinates: a vertical axis for each key, the objective last; the best trials are drawn over the others.
for (const place of all("[data-parallel]")) {
  const { axes, logs, rows: trials, titles } = JSON.parse(place.dataset.parallel), top = 30, bottom = 230;
  const svg = node("svg", { viewBox: `0 0 ${W} 250`, role: "img", "aria-label": "parallel coordinates of the trials" });
  const left = i => 40 + (W - 80) * i / Math.max(1, axes.length - 1);
  const scales = axes.map((name, i) => {
    const values = trials.map(trial => trial[i]).map(value => value === null ? "-" : value);
    return axis(values, bottom, top, { log: logs.includes(name), own: true });
  });
  trials.forEach((trial, rank) => {
    const path = trial.map((value, i) => `${i ? "L" : "M"}${left(i).toFixed(1)} ${scales[i].at(value === null ? "-" : value).toFixed(1)}`).join("");
    const line = node("path", { class: "line val", d: path, style: `opacity:${(0.08 + 0.92 * ((rank + 1) / trials.length) ** 3).toFixed(2)}` });
    line.append(node("title", {}, titles[rank]));
    svg.append(line);
  });
  axes.forEach((name, i) => {
    svg.append(node("line", { class: "grid", x1: left(i), x2: left(i), y1: top, y2: bottom }));
    for (const [text, at] of scales[i].ticks) svg.append(node("text", { x: left(i) + 4, y: at + 4 }, text));
    const anchor = i === 0 ? "start" : i === axes.length - 1 ? "end" : "middle", x = i === 0 ? 4 : i === axes.length - 1 ? W - 4 : left(i);
    svg.append(node("text", { class: "name", x, y: i % 2 ? 12 : 24, "text-anchor": anchor }, name.split(".").slice(-2).join(".")));
  });
  place.append(element("figcaption", null), svg);
  place.firstChild.append(element("b", "which values went together"));
}

// Tables of many rows: sorted, filtered and shown in part; rows are an address, a colour and cells, or cells alone.
const number = text => text === "" || text === "-" ? NaN : Number(text);
const tables = all(".big").map(big => {
  const rows = JSON.parse(big.querySelector("script").textContent).map(row => Array.isArray(row[2]) ? row : ["", "", row]);
  const heads = all("th", big), names = heads.map(head => head.textContent.trim()), body = big.querySelector("tbody");
  const tested = heads.map(head => head.classList.contains("test")), text = heads.map(head => head.classList.contains("text"));
  const input = big.querySelector("input"), count = big.querySelector(".count"), more = big.querySelector(".more");
  let order = rows, most = Number(big.dataset.shown);
  const matches = words => ([, , cells]) => words.every(word => {
    const rule = word.match(/^(.+?)(<=|>=|<|>|=)(.+)$/), column = rule ? names.findIndex(name => name === rule[1] || name.endsWith(`.${rule[1]}`) || name.endsWith(`/${rule[1]}`)) : -1;
    if (column < 0) return cells.some(cell => cell.toLowerCase().includes(word.toLowerCase()));
    const [a, b] = [number(cells[column]), number(rule[3])];
    return { "=": cells[column] === rule[3] || a === b, "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b }[rule[2]];
  });
  const show = () => {
    const found = order.filter(matches(input.value.split(" ").filter(Boolean)));
    body.replaceChildren(...found.slice(0, most).map(([link, , cells]) => {
      const row = document.createElement("tr");
      row.append(...cells.map((cell, i) => {
        const made = element("td", i || !link ? cell : null, { class: `${tested[i] ? "test" : ""} ${text[i] ? "text" : ""}` });
        if (!i && link) made.append(element("a", cell, { href: link }));
        return made;
      }));
      return row;
    }));
    count.textContent = `${found.length === rows.length ? "" : `${found.length} of `}${rows.length} rows`;
    more.hidden = found.length <= most;
    more.textContent = `show all ${found.length}`;
  };
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const keys = new Map(rows.map(row => [row, number(row[2][column])]));
    order = [...rows].sort((one, other) => {
      const [x, y] = [one[2][column], other[2][column]], [p, q] = [keys.get(one), keys.get(other)];
      if (x === "-" || y === "-") return (x === "-") - (y === "-");  // what is not known comes last, either way
      const by = Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q;
      return up ? by : -by;
    });
    show();
  }));
  input.addEventListener("input", show);
  more.addEventListener("click", () => { most = Infinity; show(); });
  addEventListener("beforeprint", () => { most = Math.max(most, 500); show(); });
  show();
  return { rows, names };
});

// A sweep: any column of its table against any other.
const scatter = document.getElementById("scatter");
if (scatter) {
  const { rows, names } = tables[0], logs = JSON.parse(scatter.dataset.logs);
  const xAxis = document.getElementById("x-axis"), yAxis = document.getElementById("y-axis");
  const value = text => text === "-" ? null : Number.isNaN(Number(text)) ? text : Number(text);
  const draw = () => {
    const [a, b] = [xAxis, yAxis].map(choice => names.indexOf(choice.value)), series = new Map();
    for (const [, colour, cells] of rows) {
      const [x, y] = [value(cells[a]), value(cells[b])];
      if (colour === "" || x === null || y === null) continue;
      if (!series.has(colour)) series.set(colour, { name: "", colour: `s${colour}`, points: [], form: "dots", titles: [] });
      series.get(colour).points.push([x, y]);
      series.get(colour).titles.push(cells[0]);
    }
    const drawn = { title: `${yAxis.value} against ${xAxis.value}`, x: xAxis.value, y: yAxis.value, series: [...series.values()].reverse(),
      x_log: logs.includes(xAxis.value), y_log: logs.includes(yAxis.value) };
    scatter.replaceChildren(series.size ? chart(drawn) : element("p", "No run has both."));
  };
  xAxis.addEventListener("change", draw);
  yAxis.addEventListener("change", draw);
  draw();
}
