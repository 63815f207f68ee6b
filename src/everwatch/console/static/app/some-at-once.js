// Requests for many things, some at once: the browser and the API have other work, too.
const AT_ONCE = 8;

/** Call ``send`` for each item; returns the errors of those that were refused. */
export async function each(items, send) {
  const waiting = [...items];
  const refused = [];
  const turn = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      try {
        await send(next);
      } catch (error) {
        refused.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, turn));
  return refused;
}
