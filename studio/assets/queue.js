// No click goes unanswered. The server ends the page's stream of answers when none is due; Gradio's client then counts
// the stream as closed even if something was asked in that moment, and the answer would wait unread until the next
// click. So the end of the stream is only passed on when nothing is open, and otherwise the server is asked to go on.
(() => {
  const ask = window.fetch;
  const address = (asked) => new URL(asked?.url ?? asked, location.href).pathname;
  // Ids of what was asked and is not answered; of what was answered before its id was known; requests under way.
  const due = new Set(), early = new Set(), asking = new Set();

  const joined = async (answer) => {
    const response = await answer;
    if (response.ok) {
      const id = (await response.clone().json()).event_id;
      if (!early.delete(id)) due.add(id);
    }
    return response;
  };

  // The lines of one stream of the server, to its end.
  async function* linesOf(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (text + value).split("\n\n");
      text = lines.pop();
      yield* lines;
    }
    if (text) yield text;
  }
  const messageOf = (line) => line.startsWith("data:") ? JSON.parse(line.slice(5)) : {};

  const goingOn = async (request) => {
    let response = await ask(request);
    if (!response.ok || !response.body) return response;
    const bytes = new TextEncoder();
    const body = new ReadableStream({
      async start(passed) {
        try {
          for (let more = true; more;) {
            more = false;
            let end = null;
            for await (const line of linesOf(response)) {
              const message = messageOf(line);
              // Read on to the server's own end: one that is cut off forgets what is due.
              if (message.msg === "close_stream") { end = line; continue; }
              if (message.msg === "process_completed" && !due.delete(message.event_id)) early.add(message.event_id);
              passed.enqueue(bytes.encode(line + "\n\n"));
            }
            while (end && asking.size) await Promise.allSettled([...asking]);
            if (end && due.size) {
              response = await ask(request);
              more = response.ok;
              if (!more) due.clear();
            }
            if (end && !more) passed.enqueue(bytes.encode(end + "\n\n"));
          }
          passed.close();
        } catch (fault) {
          due.clear();
          passed.error(fault);
        }
      },
    });
    return new Response(body, { status: response.status, headers: response.headers });
  };

  window.fetch = (asked, options) => {
    if (address(asked).endsWith("/queue/data")) return goingOn(new Request(asked, options));
    if (!address(asked).endsWith("/queue/join")) return ask(asked, options);
    const answer = joined(ask(asked, options));
    asking.add(answer);
    answer.catch(() => {}).finally(() => asking.delete(answer));
    return answer;
  };
})();
