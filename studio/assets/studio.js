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
