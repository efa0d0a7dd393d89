// Shows markup, and tells what was done to it. What there is to see is decided in Python.

const NUMBERS = ["event", "cpu", "address", "look"];

function selection(node) {
  const said = {};
  for (const name of NUMBERS) if (node.dataset[name] !== undefined) said[name] = Number(node.dataset[name]);
  return Object.keys(said).length ? said : null;
}

function render({ model, el }) {
  el.classList.add("mk-canvas");

  function show() {
    const focus = el.contains(document.activeElement) ? document.activeElement.closest("[data-key]")?.dataset.key : null;
    const scrolled = new Map([...el.querySelectorAll("[data-key]")].map((node) => [node.dataset.key, node.scrollTop]));
    el.innerHTML = model.get("markup");
    const opened = model.get("opened");
    for (const node of el.querySelectorAll("[data-key]")) {
      const key = node.dataset.key;
      if (node.tagName === "DETAILS" && opened.includes(key)) node.open = true;
      if (scrolled.get(key)) node.scrollTop = scrolled.get(key);
      if (key === focus) node.focus();
    }
  }

  function chosen(node) {
    const part = node.closest("[data-event], [data-cpu], [data-address], [data-look]");
    if (part && el.contains(part)) model.send(selection(part));
    return part;
  }

  el.addEventListener("click", (event) => {
    const control = event.target.closest("button[data-act]");
    if (control) model.send({ act: control.dataset.act, value: control.dataset.value ?? null });
    else chosen(event.target);
  });
  for (const kind of ["input", "change"])
    el.addEventListener(kind, (event) => {
      const control = event.target.closest(`[data-act][data-on="${kind}"]`);
      if (control) model.send({ act: control.dataset.act, value: control.value });
    });
  el.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.target.closest("button, summary, input, select") && chosen(event.target))
      event.preventDefault();
  });
  el.addEventListener(
    "toggle",
    (event) => {
      const { key } = event.target.dataset;
      const others = model.get("opened").filter((one) => one !== key);
      const now = event.target.open ? [...others, key] : others;
      if (now.length === model.get("opened").length) return;
      model.set("opened", now);
      model.save_changes();
    },
    true,
  );

  const size = new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width / 20) * 20;
    if (!width || width === model.get("width")) return;
    model.set("width", width);
    model.save_changes();
  });
  size.observe(el);
  model.on("change:markup", show);
  show();
  return () => {
    size.disconnect();
    model.off("change:markup", show);
  };
}

export default { render };
