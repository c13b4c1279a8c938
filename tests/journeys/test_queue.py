"""Every click is answered, whenever the server ends the page's stream of answers."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

# Both hold something back that a busy machine delays by chance.
END_OF_STREAM_AFTER_THE_NEXT_QUESTION = """
(() => {
  const real = window.fetch, path = (asked) => new URL(asked.url ?? asked, location.href).pathname;
  let heard = [];
  window.held = 0;
  window.asked = 0;
  window.fetch = async (asked, options) => {
    const answer = await real(asked, options);
    if (path(asked).endsWith("/queue/join")) {
      window.asked = Date.now();
      for (const go of heard.splice(0)) setTimeout(go, 300);
    }
    if (!path(asked).endsWith("/queue/data")) return answer;
    const reader = answer.body.getReader(), bytes = new TextEncoder();
    return new Response(new ReadableStream({
      async pull(passed) {
        const { value, done } = await reader.read();
        if (done) return passed.close();
        const [before, end] = new TextDecoder().decode(value).split(/(data: *\\{[^\\n]*"close_stream"[^]*)/);
        if (before) passed.enqueue(bytes.encode(before));
        if (!end) return;
        window.held += 1;
        await new Promise((go) => heard.push(go));
        window.held -= 1;
        passed.enqueue(bytes.encode(end));
      },
    }), { headers: answer.headers });
  };
})();
"""
AN_ID_AFTER_ITS_ANSWER = """
async () => {
  const line = (message) => new TextEncoder().encode(`data: ${JSON.stringify(message)}\\n\\n`);
  const completed = (id) => line({ msg: "process_completed", event_id: id });
  const ids = [], streams = [];
  window.fetch = (asked) => (asked.url ?? asked).endsWith("/queue/join")
    ? new Promise((give) => ids.push((id) => give(Response.json({ event_id: id }))))
    : Promise.resolve(new Response(new ReadableStream({ start(stream) { streams.push(stream); } })));
  const script = document.createElement("script");
  script.src = "/studio-assets/queue.js";
  await new Promise((loaded) => { script.onload = loaded; document.head.append(script); });

  const first = fetch("/queue/join");
  ids.shift()("first");
  await first;
  const heard = (await fetch("/queue/data")).text();
  const second = fetch("/queue/join");
  streams[0].enqueue(completed("second"));
  await new Promise((later) => setTimeout(later, 100));
  ids.shift()("second");
  await second;
  streams[0].enqueue(completed("first"));
  streams[0].enqueue(line({ msg: "close_stream" }));
  streams[0].close();
  const never = new Promise((later) => setTimeout(later, 3000, "the stream stays open"));
  return [streams.length, (await Promise.race([heard, never])).match(/\\w*_\\w*(?=",|"})/g)];
}
"""


def test_a_click_in_the_moment_in_which_the_stream_ends_is_answered(page: Page) -> None:
    page.add_init_script(END_OF_STREAM_AFTER_THE_NEXT_QUESTION)
    page.goto("/")
    page.wait_for_function("window.held && Date.now() - window.asked > 2000")  # the page has filled itself
    page.locator("#sample-tone").click()
    expect(page.locator("#answer")).to_contain_text("kept aside")


def test_a_stream_ends_though_an_id_came_after_its_answer(page: Page) -> None:
    page.goto("/healthz")
    streams, heard = page.evaluate(AN_ID_AFTER_ITS_ANSWER)
    assert heard == ["process_completed", "process_completed", "close_stream"]
    assert streams == 1, "nothing is due, so the server is not asked again"
