// Keeps what is chosen in the address: links of the bar carry dataset, model and run along.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-keep]");
  if (link && !event.ctrlKey && !event.metaKey) {
    const here = new URLSearchParams(location.search);
    const kept = new URLSearchParams();
    for (const name of ["dataset", "model", "run", "adapter"]) if (here.get(name)) kept.set(name, here.get(name));
    link.href = link.pathname + (kept.size ? "?" + kept : "");
  }
}, true);

// Python handlers cannot change the address; they hand a dictionary to this function instead.
window.studioAddress = (values) => {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values || {})) value ? query.set(name, value) : query.delete(name);
  history.replaceState(null, "", location.pathname + (query.size ? "?" + query : ""));
};
window.studioGo = (target) => { if (target) location.assign(target); };
document.documentElement.lang = "en";

// While the starter model is on its way, every page says how far it is.
(() => {
  const bytes = (count) => `${Math.round(count / 1e6)} MB`;
  let strip = null, first = null;
  const show = (state) => {
    if (!strip) {
      strip = document.createElement("div");
      strip.id = "starter-strip";
      strip.setAttribute("role", "status");
      document.body.prepend(strip);
    }
    strip.replaceChildren();
    const words = document.createElement("span");
    strip.append(words);
    if (state.state === "missing") {
      words.textContent = `The starter model is not here. ${state.words} Examples and the calculator work without it. `;
      const link = document.createElement("a");
      link.href = "/system";
      link.textContent = "Try again on System";
      strip.append(link);
      return;
    }
    words.textContent = `Starter model: ${state.words}`;
    if (state.total) {
      if (!first || first.words !== state.words) first = { words: state.words, at: Date.now(), done: state.done };
      const rate = (state.done - first.done) / ((Date.now() - first.at) / 1000);
      const left = rate > 0 ? `, about ${window.studioDuration((state.total - state.done) / rate)} left` : "";
      words.textContent += ` ${bytes(state.done)} of ${bytes(state.total)}${left}`;
      const bar = document.createElement("progress");
      bar.max = state.total;
      bar.value = state.done;
      bar.setAttribute("aria-label", "Download of the starter model");
      strip.append(bar);
    }
  };
  const look = async () => {
    let state = { state: "fetching", words: "no answer from the studio, trying again" };
    try { state = await (await fetch("/starter")).json(); } catch { /* the next look may find it */ }
    if (state.state === "ready") return strip?.remove();
    show(state);
    setTimeout(look, state.state === "missing" ? 5000 : 1000);
  };
  look();
})();
