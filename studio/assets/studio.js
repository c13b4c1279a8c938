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

// Whether the studio is there, the same one as before, and well: a strip at the bottom edge, over the page and not in
// it, so that nothing moves. It is asked for every five seconds, every second while it does not answer, at once when
// the page is looked at again, and not at all while nobody looks.
(() => {
  const EVERY = 5000, LOST = 1000, GOOD_NEWS = 5000, PATIENCE = 15000;  // ms; a busy database answers after ten seconds
  const BACK = "The studio is back.", CLOSED = "closed-notice";
  const strip = document.createElement("div");
  strip.id = "studio-strip";
  strip.setAttribute("role", "status");
  document.body.append(strip);
  let said = "", started = null, failures = 0, timer = null, asking = false, leaving = false;
  let typed = false, restarted = false;
  document.addEventListener("input", (event) => { typed ||= event.isTrusted; }, true);
  addEventListener("pagehide", () => { leaving = true; });
  addEventListener("pageshow", () => { leaving = false; });

  const say = (words, link, run) => {
    if (said === words) return;
    said = words;
    document.body.classList.toggle("has-strip", !!words);
    strip.replaceChildren();
    if (!words) return;
    strip.append(Object.assign(document.createElement("span"), { textContent: words }));
    if (link) {
      const target = run ? document.createElement("button") : Object.assign(document.createElement("a"), { href: link[1] });
      target.textContent = link[0];
      if (run) { target.type = "button"; target.addEventListener("click", run); }
      strip.append(target);
    }
  };
  const newStudio = (words) => {
    restarted = true;
    if (!typed) return location.reload();  // nothing is lost by it
    say(words, ["Reload"], () => location.reload());
  };
  const wellAgain = () => {
    say(BACK);
    setTimeout(() => { if (said === BACK) say(""); }, GOOD_NEWS);
  };
  const show = (state) => {
    const wasLost = failures > 1;
    failures = 0;
    if (started !== null && state.started !== started) return newStudio("The studio was restarted. What you typed is still here: copy it, then reload.");
    started = state.started;
    if (state.database !== "ok") return say(state.database, location.pathname === "/system" ? null : ["System", "/system"]);
    if (wasLost) return wellAgain();
    if (state.notice && state.notice !== sessionStorage.getItem(CLOSED)) {
      return say(state.notice, ["Close"], () => { sessionStorage.setItem(CLOSED, state.notice); say(""); });
    }
    if (said !== BACK) say("");
  };
  const lost = (words) => {
    if (++failures > 1) say(words);  // one answer that is missing may be a page that is just being left
  };
  const look = async () => {
    if (asking || leaving || restarted) return;
    asking = true;
    clearTimeout(timer);
    try {
      const answer = await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      if (answer.status === 401) newStudio("The studio was restarted and asks for its password again.");
      else {
        const state = await answer.json();
        // Before it is ready the studio tells less of itself, and what keeps it from getting ready.
        if ("database" in state) show(state);
        else if (state.status === "damaged") newStudio(state.message);
        else { failures += 1; say(state.message || "The studio is starting."); }
      }
    } catch {
      if (!leaving) lost("The studio does not answer. Training goes on; this page is trying again.");
    }
    asking = false;
    if (!document.hidden && !restarted) timer = setTimeout(look, failures ? LOST : EVERY);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  if (!document.hidden) look();
})();

// A table that Python draws anew keeps the keyboard where it was: on the button or link with the same name.
(() => {
  let last = null;
  document.addEventListener("focusin", (event) => {
    const table = event.target.closest?.("#runs, #trash"), name = event.target.getAttribute?.("aria-label");
    last = table && name ? { table: table.id, name, node: event.target } : null;
  });
  new MutationObserver(() => {
    if (!last || last.node.isConnected || document.activeElement !== document.body) return;
    const again = document.querySelector(`#${last.table} [aria-label="${CSS.escape(last.name)}"]`);
    if (again) again.focus({ preventScroll: true });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
