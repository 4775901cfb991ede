// Asks the program once a second what has changed, while somebody can see it, and puts that in the place of what was there.
"use strict";
(() => {
  const SECOND = 1000, PATIENCE = 10 * SECOND, TRIES = 3;
  const at = (id) => document.getElementById(id);
  const base = document.currentScript.src;
  const address = (name) => new URL(name, base);
  const marks = {}; // of the parts that stand here
  let timer = 0, asking = false, failures = 0, isOver = false, heard = new Date();

  function say(text) {
    if (at("news").textContent !== text) at("news").textContent = text; // else it would be read aloud again
  }

  function replace(name, [mark, html]) {
    const old = at(name).querySelector(".wide"), left = old ? old.scrollLeft : 0;
    const hadFocus = old !== null && old === document.activeElement;
    at(name).innerHTML = html;
    marks[name] = mark;
    const wide = at(name).querySelector(".wide");
    if (wide) wide.scrollLeft = left;
    if (wide && hadFocus) wide.focus({ preventScroll: true });
  }

  function show(state) {
    document.title = state.title;
    for (const [name, part] of Object.entries(state.parts)) replace(name, part);
    for (const name of ["save", "stop"]) at(name).disabled = !state.acts.includes(name);
    if (!state.acts.includes("stop")) at("ask").close();
    isOver = state.over;
    say(state.news);
  }

  function lose() {
    for (const name of ["save", "stop"]) at(name).disabled = true;
    say(`The program does not answer any more: the run has ended, or was ended, or the way to it is cut. This is how it stood at ${heard.toLocaleTimeString()}.`);
  }

  async function ask() {
    clearTimeout(timer);
    if (asking || isOver || document.hidden) return;
    asking = true;
    try {
      const url = address("state");
      url.search = new URLSearchParams({ width: document.documentElement.clientWidth, known: Object.values(marks).join("-") });
      const answer = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      isOver = answer.status === 404; // somebody else's page is there now
      if (!answer.ok) throw new Error(answer.status);
      show(await answer.json());
      failures = 0;
      heard = new Date();
    } catch {
      failures += 1;
      if (isOver || failures >= TRIES) lose();
    }
    asking = false;
    if (!isOver) timer = setTimeout(ask, failures < TRIES ? SECOND : PATIENCE);
  }

  async function act(name) {
    at(name).disabled = true;
    try {
      await fetch(address(name), { method: "POST", signal: AbortSignal.timeout(PATIENCE) });
    } catch {
      failures += 1;
    }
    ask();
  }

  at("save").addEventListener("click", () => act("save"));
  at("stop").addEventListener("click", () => at("ask").showModal());
  at("no").addEventListener("click", () => at("ask").close());
  at("yes").addEventListener("click", () => {
    at("ask").close();
    act("stop");
  });
  document.addEventListener("visibilitychange", ask);
  ask();
})();
