// Server-sent events, read by fetch: an EventSource that is made anew cannot say which event it has seen last, and does
// not tell the ids of beats.

/** Read a stream to its end: ``alive()`` at each piece, ``id(text)`` and ``event(name, data)`` at each message. */
export async function readEvents(body, { alive, id, event }) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    const messages = (rest + value).split("\n\n");
    rest = messages.pop();
    for (const message of messages) {
      const { name, data, last } = fields(message);
      if (last) id(last);
      if (data) event(name, data);
    }
  }
}

/** The fields of one message. Lines end with a newline alone, as the API writes them; comments begin with a colon. */
function fields(message) {
  let [name, data, last] = ["message", "", ""];
  for (const line of message.split("\n")) {
    const at = line.indexOf(": ");
    const [field, value] = [line.slice(0, at), line.slice(at + 2)];
    if (field === "event") name = value;
    else if (field === "data") data += value;
    else if (field === "id") last = value;
  }
  return { name, data, last };
}
