// The page of an exported run: puts each moment's pictures together, and goes from one moment to another.

const KEYFRAMES = 32; // as in export.py
const PAUSE = 250; // milliseconds between two moments while it plays
const REST = 150; // milliseconds after which the pictures outside the window follow

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// What one picture is made of at a moment.
function piecesAt(frames, moment) {
  let pieces = [];
  for (let at = moment - (moment % KEYFRAMES); at <= moment; at++) {
    const [start, end, between] = frames[at];
    pieces = [...pieces.slice(0, start), ...between, ...pieces.slice(pieces.length - end)];
  }
  return pieces;
}

function main(data) {
  const { stops, events, reels } = data;
  const [scrubber, bar] = ["scrubber", "bar"].map((id) => document.getElementById(id));
  const places = reels.flatMap(({ name, frames, pieces }) =>
    frames.map((one, width) => [document.querySelector(`[data-reel="${name}"][data-width="${width}"]`), one, pieces]),
  );
  const shown = new Map();
  const inWindow = new Set(places.map(([place]) => place));
  let now = stops.length - 1;
  let playing = null;
  let twins = false;
  let rest = null;

  function draw(place, frames, pieces) {
    if (!place.offsetParent) return; // the other width's turn
    const markup = piecesAt(frames, now).map((piece) => pieces[piece]).join("");
    if (shown.get(place) === markup) return;
    shown.set(place, markup);
    const focus = place.contains(document.activeElement) ? document.activeElement.closest("[data-key]") : null;
    place.innerHTML = markup;
    for (const node of place.querySelectorAll("details")) node.open = twins;
    if (focus) place.querySelector(`[data-key="${CSS.escape(focus.dataset.key)}"]`)?.focus();
  }

  function show(moment) {
    now = Math.max(0, Math.min(stops.length - 1, moment));
    scrubber.value = now;
    const [event, time] = stops[now];
    document.getElementById("where").textContent = `event ${event.toLocaleString("en")} of ${(events - 1).toLocaleString("en")}`;
    document.getElementById("when").textContent = `t = ${time.toLocaleString("en")} instructions`;
    scrubber.setAttribute("aria-valuetext", `event ${event}, ${time} instructions`);
    drawAll((place) => inWindow.has(place));
    clearTimeout(rest);
    rest = setTimeout(() => drawAll(() => true), REST);
  }

  function drawAll(wanted) {
    for (const [place, frames, pieces] of places) if (wanted(place)) draw(place, frames, pieces);
  }

  function stop() {
    clearInterval(playing);
    playing = null;
  }

  const acts = {
    first: () => show(0),
    back: () => show(now - 1),
    step: () => show(now + 1),
    last: () => show(stops.length - 1),
    play() {
      if (playing) return stop();
      if (now === stops.length - 1) show(0);
      playing = setInterval(() => (now === stops.length - 1 || document.hidden ? stop() : show(now + 1)), PAUSE);
    },
    twins() {
      twins = !twins;
      for (const node of document.querySelectorAll(".mk-canvas details")) node.open = twins;
    },
    theme() {
      const { dataset } = document.body;
      dataset.jpThemeLight = dataset.jpThemeLight === "false";
    },
  };
  const keys = { Home: "first", b: "back", ArrowLeft: "back", s: "step", ArrowRight: "step", r: "play", End: "last", t: "twins", d: "theme" };

  function act(name) {
    if (name !== "play" && name !== "twins" && name !== "theme") stop();
    acts[name]();
  }

  // Clicking what happened at an event goes there; clicking a CPU, to the last moment at which it ran.
  function choose(node) {
    const part = node.closest("[data-event], [data-cpu]");
    if (!part || !part.closest(".mk-canvas")) return;
    const wanted = part.dataset.event !== undefined ? Number(part.dataset.event) : null;
    let moment = stops.findIndex((one) => one[0] >= wanted);
    if (wanted === null) {
      moment = now;
      while (moment >= 0 && stops[moment][2] !== Number(part.dataset.cpu)) moment--;
    }
    if (moment >= 0) show(moment);
  }

  document.addEventListener("click", ({ target }) => {
    const button = target.closest("button[data-go]");
    if (button) act(button.dataset.go);
    else choose(target);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter" && event.target.closest("[data-event], [data-cpu]")) choose(event.target);
    else if (keys[event.key] && event.target !== scrubber) {
      act(keys[event.key]);
      event.preventDefault();
    }
  });
  scrubber.addEventListener("input", () => {
    stop();
    show(Number(scrubber.value));
  });

  addEventListener("resize", () => show(now));
  const window = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) inWindow[isIntersecting ? "add" : "delete"](target);
  });
  for (const [place] of places) window.observe(place);

  const marks = stops.map(([, , , trouble], at) => {
    const x = `${(100 * at) / Math.max(1, stops.length - 1)}%`;
    return trouble ? `<text x="${x}" y="12" text-anchor="middle" font-size="12" fill="var(--mk-alert)">&#x2715;</text>` : "";
  });
  document.getElementById("marks").innerHTML = marks.join("");
  if (matchMedia("(prefers-color-scheme: dark)").matches) acts.theme();
  bar.hidden = false;
  show(now);
}

unpack(document.getElementById("data").textContent).then(main);
