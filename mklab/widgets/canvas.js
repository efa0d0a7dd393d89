// Shows markup, and tells what was done to it. What there is to see is decided in Python.

const SELECTED = ["event", "cpu", "address", "look"];
const PAUSE = 66; // milliseconds between two messages of a control that is being moved
const LINGER = 10000; // and for which what was scrolled out of sight counts as seen
const WORDS = "input:not([type=range]), select, textarea";
const seen = new WeakMap(); // of each model: the places where it can be seen

function selection(node) {
  const said = {};
  for (const name of SELECTED) if (node.dataset[name] !== undefined) said[name] = Number(node.dataset[name]);
  return Object.keys(said).length ? said : null;
}

// By what an element is found again in another drawing.
function identity(node) {
  const said = node?.dataset && (node.dataset.key ?? selection(node));
  return said ? JSON.stringify(said) : null;
}

// Make `old` what `fresh` is. Elements that stay are kept, with focus, scrolling and whatever is being done to them.
function morph(old, fresh) {
  if (old.nodeName !== fresh.nodeName) return void old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) return void (old.data !== fresh.data && (old.data = fresh.data));
  if (old.isEqualNode(fresh)) return;
  if ("whole" in old.dataset) return void old.replaceWith(fresh); // nothing in it can be focused, and there is much
  const moved = old.getAttribute("value") !== fresh.getAttribute("value");
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
  after.forEach((node, at) => (at < before.length ? morph(before[at], node) : old.append(node)));
  before.slice(after.length).forEach((node) => node.remove());
  if (old.nodeName === "INPUT" && moved && !old.matches(":active")) old.value = fresh.value;
  if (old.nodeName === "SELECT") old.value = fresh.querySelector("option[selected]")?.value ?? old.value;
}

// `send`, but not too often; what was said last is always sent.
function sparing(send) {
  let [timer, waiting] = [null, null];
  const say = (said) => {
    if (timer) return void (waiting = said);
    send(said);
    timer = setTimeout(() => {
      const last = waiting;
      [timer, waiting] = [null, null];
      if (last) say(last);
    }, PAUSE);
  };
  return say;
}

// One canvas carries what several show. A message from Python is no change that Python would have to be told.
function initialize({ model }) {
  model.on("msg:custom", ({ markups }) => {
    for (const [id, markup] of Object.entries(markups))
      model.widget_manager.get_model(id).then((one) => one.set_state({ markup }));
  });
}

function render({ model, el }) {
  const done = new AbortController();
  const on = (target, kind, act, capture = false) => target.addEventListener(kind, act, { capture, signal: done.signal });
  const save = (name, value) => (model.set(name, value), model.save_changes());
  const sayMoved = sparing((said) => model.send(said));
  // The keys of a dashboard act wherever the focus is in it; those of a part alone, in the part.
  const scope = () => (model.get("leads") && el.closest(".mk-dashboard")) || el;
  el.classList.add("mk-canvas");

  function show() {
    const focused = el.contains(document.activeElement) ? document.activeElement : null;
    const was = identity(focused);
    const asked = el.querySelector("[data-focus]") !== null;
    const fresh = document.createElement("template");
    fresh.innerHTML = model.get("markup");
    const opened = model.get("opened");
    for (const node of fresh.content.querySelectorAll("details[data-key]")) node.open = opened.includes(node.dataset.key);
    const place = el.cloneNode(false);
    place.append(fresh.content);
    morph(el, place);
    if (was && identity(document.activeElement) !== was)
      [...el.querySelectorAll("[data-key], [tabindex]")].find((node) => identity(node) === was)?.focus();
    if (!asked) el.querySelector("[data-focus]")?.focus();
  }

  function chosen(node) {
    const part = node.closest("[data-event], [data-cpu], [data-address], [data-look]");
    if (part && el.contains(part)) model.send(selection(part));
    return part;
  }

  on(el, "click", (event) => {
    const key = event.target.closest("summary")?.parentElement.dataset.key;
    if (key) {
      // Open is what the model says, and no two things at once.
      const others = model.get("opened").filter((one) => one !== key);
      save("opened", others.length < model.get("opened").length ? others : [...others, key]);
      return event.preventDefault();
    }
    const control = event.target.closest("[data-act]");
    if (control?.matches("button")) model.send({ act: control.dataset.act, value: control.dataset.value ?? null });
    else if (!event.target.closest("input, select, label, summary")) chosen(event.target);
  });
  for (const kind of ["input", "change"])
    on(el, kind, (event) => {
      const control = event.target.closest(`[data-act][data-on="${kind}"]`);
      const say = kind === "input" ? sayMoved : (said) => model.send(said);
      if (control) say({ act: control.dataset.act, value: control.value });
    });
  on(el, "submit", (event) => {
    event.preventDefault();
    model.send({ act: event.target.dataset.act, value: Object.fromEntries(new FormData(event.target)) });
  });
  // While the focus is here, keys without Ctrl, Alt or Command are no shortcuts of JupyterLab.
  on(window, "keydown", (event) => {
    // Lumino looks at the element that has the focus first: an attribute of those around it would come too late.
    if (scope().contains(event.target))
      event.target.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey || event.altKey));
  }, true);
  function press(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!scope().contains(event.target)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "Enter" && el.contains(event.target) && event.target.form) {
      event.preventDefault();
      event.target.form.requestSubmit();
    }
    if (event.target.closest(WORDS) && key !== "Escape") return;
    if (key === "Enter" && el.contains(event.target) && !event.target.closest("button, summary") && chosen(event.target))
      event.preventDefault();
    if (!model.get("taken").includes(key)) return;
    event.preventDefault();
    if (event.repeat) sayMoved({ key });
    else model.send({ key });
  }
  // A group with one place in the order of Tab: Up and Down lead from part to part.
  on(el, "keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const group = step && event.target.closest("[data-arrows]");
    if (!group) return;
    const parts = [...group.querySelectorAll("[tabindex]")];
    parts[parts.indexOf(event.target) + step]?.focus();
    event.preventDefault();
  });
  on(el, "keydown", press);
  on(document, "keydown", press);

  const size = new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width / 20) * 20;
    if (width && width !== model.get("width")) save("width", width);
  });
  let [near, gone] = [false, null];
  function look() {
    const places = seen.get(model) ?? new Set();
    if (near && document.visibilityState === "visible") places.add(el);
    else places.delete(el);
    seen.set(model, places);
    if (model.get("visible") !== places.size > 0) save("visible", places.size > 0);
  }
  // Pictures that grow and shrink push those below them out of sight and back, which would be a message each time.
  const sight = new IntersectionObserver((entries) => {
    const { isIntersecting, boundingClientRect } = entries.at(-1);
    clearTimeout(gone);
    near = isIntersecting;
    // In a tab of JupyterLab that is hidden nothing has a size.
    if (near || !boundingClientRect.width) look();
    else gone = setTimeout(look, LINGER);
  });
  on(document, "visibilitychange", look);
  size.observe(el);
  sight.observe(el);
  model.on("change:markup", show);
  model.on("change:opened", show);
  show();
  return () => {
    done.abort();
    size.disconnect();
    sight.disconnect();
    clearTimeout(gone);
    near = false;
    look();
    model.off("change:markup", show);
    model.off("change:opened", show);
  };
}

export default { initialize, render };
