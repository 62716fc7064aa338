// The pages work without this. It looks again when the server tells of something that happened, or else every few seconds, while the page is
// seen, and puts what has changed into its place.
"use strict";
(() => {
  const every = Number(document.body.dataset.every || 0) * 1000;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  if (every === 0) return;

  const button = document.getElementById("pause");
  let paused = false;
  let asking = false;

  // Whether somebody is at work in a part: what they write or have opened is not taken from under their hands.
  const isBusy = (part) =>
    part.contains(document.activeElement) && document.activeElement.matches("input, summary, button, a, [tabindex]") ||
    part.querySelector("details[open]") !== null ||
    part.contains(getSelection()?.isCollapsed === false ? getSelection().anchorNode : null);

  const put = (fresh) => {
    for (const part of document.querySelectorAll("[data-live][id]")) {
      const next = fresh.getElementById(part.id);
      if (next === null) {
        if (!isBusy(part)) part.replaceChildren();
        continue;
      }
      if (next.innerHTML === part.innerHTML || isBusy(part)) continue;
      const scrolled = [...part.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
      part.replaceChildren(...next.childNodes);
      [...part.querySelectorAll(".scroll")].forEach((box, at) => { box.scrollLeft = scrolled[at] || 0; });
      if (!calm.matches && part.id === "status") {
        part.classList.remove("changed");
        void part.offsetWidth;
        part.classList.add("changed");
      }
    }
  };

  let looked = 0;
  let took = 0;
  let wanted = 0;
  const look = async () => {
    if (paused || asking || document.hidden) return;
    asking = true;
    looked = Date.now();
    try {
      // What was just done was said once.
      const here = new URL(location.href);
      here.searchParams.delete("did");
      const answer = await fetch(here, { headers: { accept: "text/html" }, credentials: "same-origin" });
      // The session has ended: the browser asks for the page itself, and is led to sign in.
      if (answer.redirected) return location.reload();
      if (answer.ok) put(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The server is out of reach; the next look finds it again.
    } finally {
      took = Date.now() - looked;
      asking = false;
    }
  };

  // However much happens, it looks once a second at most, and less often where a look takes long: a page is to cost a busy server little.
  const soon = () => {
    if (wanted !== 0) return;
    wanted = setTimeout(() => { wanted = 0; look(); }, Math.max(100, looked + Math.max(1000, 20 * took) - Date.now()));
  };

  // Where the server tells what happens, the page is told and need not look for itself; heartbeats are no events, so that it does now and then.
  // A page that is not seen listens to nothing: a browser has few connections to one server.
  const address = document.body.dataset.events;
  const how = document.getElementById("how");
  const rest = 60_000;
  let source = null;
  let cut = 0;
  const say = (text) => { if (how.textContent !== text) how.textContent = text; };
  const deaf = () => source === null || source.readyState !== EventSource.OPEN;
  const hush = () => { source?.close(); source = null; };
  const listen = () => {
    if (address === undefined || source !== null || paused || document.hidden || Date.now() < cut) return;
    source = new EventSource(address);
    source.addEventListener("open", () => { say("Live."); soon(); });
    source.addEventListener("message", soon);
    source.addEventListener("end", (event) => {
      let why = "";
      try { why = JSON.parse(event.data).reason; } catch { /* It is told without. */ }
      // The browser comes again by itself, and is told all from there on; without its session it is to sign in.
      say(why === "slow" ? "Cut off as too slow: it comes back." : "Cut off: it comes back.");
      if (why === "unauthorized") look();
    });
    source.addEventListener("error", () => {
      if (source?.readyState !== EventSource.CLOSED) return say("Cut off: it comes back.");
      // This server tells no events, or has no place for one more listener.
      hush();
      cut = Date.now() + rest;
      say(`Looks again every ${every / 1000} s.`);
    });
  };
  addEventListener("pagehide", hush);

  // The one place that says when to look without being told.
  const begin = () => {
    listen();
    setInterval(() => {
      listen();
      if (deaf() || Date.now() - looked >= 3 * every) look();
    }, every);
  };

  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Refresh again" : "Stop refreshing";
    if (paused) { hush(); say(""); } else listen();
    look();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) hush(); else listen();
    look();
  });
  begin();
})();
