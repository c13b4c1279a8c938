// The live picture of one run: asks for the news once a second, says them, and extends the chart in place,
// so zoom and hover survive. Words come from the page's own table (data-words); numbers arrive as in charts.points_json.
// Nothing but the chart waits for Plotly (4.5 MB): the points are kept, and drawn from the first when it is there.
// The first chart asks for it, so that a page without one never reads it.
(() => {
  const SMOOTH = 0.75, MOST = 5000, ENDED_MS = 4000, OPEN = ["queued", "running", "stopping"];
  const css = (name) => getComputedStyle(document.querySelector(".gradio-container") || document.body).getPropertyValue(name).trim();
  const number = new Intl.NumberFormat("en-GB");

  window.studioDuration = (seconds) => {
    if (seconds < 1.5) return "a second";
    if (seconds < 90) return `${Math.round(seconds)} seconds`;
    if (seconds < 5400) { const m = Math.round(seconds / 60); return m === 1 ? "a minute" : `${m} minutes`; }
    return `${(seconds / 3600).toFixed(1)} hours`;
  };
  const bytes = (n) => n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : n >= 1e6 ? `${Math.round(n / 1e6)} MB` : `${Math.round(n / 1e3)} kB`;

  const PLOTLY = "/vendor/plotly.min.js";
  const plotly = () => document.querySelector(`script[src='${PLOTLY}']`) ??
    document.head.appendChild(Object.assign(document.createElement("script"), { src: PLOTLY }));

  const follow = (root) => {
    const run = root.dataset.run, words = JSON.parse(root.dataset.words);
    const chart = root.querySelector(".chart"), part = (name) => root.querySelector(`[data-part=${name}]`);
    let cursor = 0, drawn = false, ema = null, losses = [], held = [], best = null, failures = 0, phaseSeen = null, told = part("notes").children.length;

    const layout = () => ({
      height: root.clientWidth < 500 ? 260 : 340, margin: { l: 44, r: 12, t: 8, b: 38 }, showlegend: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "x", dragmode: "zoom",
      font: { color: css("--ink-soft"), size: 12 }, uirevision: run,
      xaxis: { title: { text: "step" }, gridcolor: css("--line"), zeroline: false, rangemode: "tozero" },
      yaxis: { gridcolor: css("--line"), zeroline: false, title: { text: "loss" } },
    });
    const smooth = (points) => points.map(([, y]) => y == null ? ema : (ema = ema == null ? y : SMOOTH * ema + (1 - SMOOTH) * y));
    const findBest = () => held.reduce((low, point) => point[1] != null && (!low || point[1] < low[1]) ? point : low, null);
    const xs = (points) => points.map((p) => p[0]), ys = (points) => points.map((p) => p[1]);

    const keep = (data) => {
      if (cursor === 0 && losses.length + held.length) { losses = []; held = []; drawn = false; }  // the whole curve, thinned anew
      losses = losses.concat(data.l || []); held = held.concat(data.h || []); best = findBest();
      cursor = losses.length > MOST ? 0 : data.c;
    };
    const draw = () => {
      ema = null;
      const accent = css("--adapter");
      Plotly.react(chart, [
        { x: xs(losses), y: ys(losses), mode: "lines+markers", marker: { size: 4, color: accent }, line: { color: accent, width: 1 }, opacity: 0.3, name: "training", hoverinfo: "skip" },
        { x: xs(losses), y: smooth(losses), mode: "lines", line: { color: accent, width: 2.5 }, name: "training, smoothed", hovertemplate: "training %{y:.3f}<extra></extra>" },
        { x: xs(held), y: ys(held), mode: "lines+markers", line: { color: css("--base"), width: 2, dash: "dash" }, marker: { size: 6, color: css("--base") }, name: "held-out", hovertemplate: "held-out %{y:.3f}<extra></extra>" },
        { x: best ? [best[0]] : [], y: best ? [best[1]] : [], mode: "markers", marker: { symbol: "diamond", size: 13, color: accent, line: { color: css("--card"), width: 2 } }, name: "best", cliponaxis: false, hovertemplate: "best so far %{y:.3f}<extra></extra>" },
      ], layout(), { displayModeBar: false, responsive: true });
      drawn = true;
    };
    const extend = (l, h) => {
      if (l.length) Plotly.extendTraces(chart, { x: [xs(l), xs(l)], y: [ys(l), smooth(l)] }, [0, 1]);
      if (h.length) {
        Plotly.extendTraces(chart, { x: [xs(h)], y: [ys(h)] }, [2]);
        if (best) Plotly.restyle(chart, { x: [[best[0]]], y: [[best[1]]] }, [3]);
      }
    };

    // The verdict on the curve in one word of the page's table; the numbers stay in the chart.
    const verdict = (data) => {
      if (data.v) return data.v;
      if (data.q !== "running") return data.q;
      if (!data.s) return "preparing";
      if (held.length < 3) return "early";
      const last = held[held.length - 1][1], first = held[0][1];
      if (last > best[1] * 1.03 && best[0] < held[held.length - 1][0]) return "memorising";
      return best[1] < first * 0.98 ? "learning" : "flat";
    };
    const setText = (name, text) => { const node = part(name); if (node && node.textContent !== text) node.textContent = text; };
    const list = (name, sentences) => {
      const node = part(name), same = node.children.length === sentences.length && sentences.every((words, i) => node.children[i].textContent === words);
      if (!same) node.replaceChildren(...sentences.map((words) => Object.assign(document.createElement("li"), { textContent: words })));
    };
    // How the run computes, a sentence each; they come only when they are not `told` many.
    const tell = (sentences) => {
      told = sentences.length;
      list("notes", sentences);
      part("how").hidden = !told;
    };

    const show = (data) => {
      const open = OPEN.includes(data.q);
      let sentence = words[verdict(data)] || "";
      if (open && data.e != null && data.s) sentence += ` About ${studioDuration(data.e)} left.`;
      const answer = document.querySelector("#answer .answer");
      if (answer && answer.dataset.said !== sentence) { answer.textContent = sentence; answer.dataset.said = sentence; }
      setText("step", data.t ? `Step ${number.format(data.s)} of ${number.format(data.t)}` : words.step_unknown);
      if (data.n) tell(data.n);
      if (data.f) setText("foreseen", data.f);
      setText("waits", data.w || "");
      list("faults", data.i || []);
      const share = data.b ? data.b[0] / data.b[1] : data.t ? data.s / data.t : 0;
      const meter = part("meter");
      meter.firstElementChild.style.width = `${Math.min(100, 100 * share)}%`;
      meter.setAttribute("aria-valuenow", Math.round(100 * share));
      setText("speed", [data.k && `${number.format(data.k)} tokens/s`, data.r && `${data.r} steps/s`].filter(Boolean).join(" · "));
      let now = open ? data.p || "" : "";
      if (data.b && data.b[1] > 1e5) {
        if (!phaseSeen || phaseSeen.words !== data.p) phaseSeen = { words: data.p, at: Date.now(), from: data.b[0] };
        const rate = (data.b[0] - phaseSeen.from) / ((Date.now() - phaseSeen.at) / 1000);
        now += ` ${bytes(data.b[0])} of ${bytes(data.b[1])}` + (rate > 0 ? `, about ${studioDuration((data.b[1] - data.b[0]) / rate)} left` : "");
      }
      setText("now", now);
      if (best) setText("best", `${best[1].toFixed(3)} at step ${number.format(best[0])}`);
      offer(data.o);
      return open;
    };
    // The buttons are Gradio's: it redraws them whenever something else can be done now.
    const offer = (key) => {
      if (root.dataset.offers === key) return;
      root.dataset.offers = key;
      root.dispatchEvent(new CustomEvent("run-changed", { bubbles: true }));
    };
    const gone = () => {
      const answer = document.querySelector("#answer .answer");
      if (answer) answer.textContent = words.deleted;
      setText("now", ""); setText("waits", "");
      offer("deleted");
    };

    // A run that has ended may go on again, also from another window: so it is asked for on, only less often.
    const tick = async () => {
      if (!root.isConnected) return;
      let open = true;
      if (!document.hidden && root.offsetParent) {
        try {
          const answer = await fetch(`/runs/${run}/points?after=${cursor}&told=${told}`);
          if (answer.status === 404) return gone();
          if (!answer.ok) throw new Error(answer.status);
          const data = await answer.json();
          failures = 0; setText("connection", "");
          keep(data);
          open = show(data);
          if (window.Plotly) drawn ? extend(data.l || [], data.h || []) : draw();
        } catch (error) {
          if (++failures > 1) setText("connection", words.connection);
        }
      }
      setTimeout(tick, !open ? ENDED_MS : document.hidden ? 2000 : 1000);
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (drawn) draw(); });
    if (!window.Plotly) plotly().addEventListener("load", () => { if (!drawn && root.isConnected) draw(); });
    tick();
  };

  // Gradio puts the run's picture into the page when it likes, and may put it there anew.
  new MutationObserver(() => document.querySelectorAll(".live:not([data-followed])").forEach((root) => {
    root.dataset.followed = "yes";
    follow(root);
  })).observe(document.documentElement, { childList: true, subtree: true });
})();
