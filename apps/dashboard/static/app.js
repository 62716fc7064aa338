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
    // What moves comes without the rest of its page, which stays as it is.
    const whole = fresh.querySelector("main") !== null;
    for (const part of document.querySelectorAll("[data-live][id]")) {
      const next = fresh.getElementById(part.id);
      if (next === null) {
        if (whole && !isBusy(part)) part.replaceChildren();
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
  let failed = false;
  const ask = async (part) => {
    asking = true;
    const asked = Date.now();
    failed = true;
    try {
      // What was just done was said once.
      const here = new URL(location.href);
      here.searchParams.delete("did");
      if (part !== undefined) here.searchParams.set("part", part);
      const answer = await fetch(here, { headers: { accept: "text/html" }, credentials: "same-origin" });
      // The session has ended: the browser asks for the page itself, and is led to sign in.
      if (answer.redirected) return location.reload();
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      put(fresh);
      follow(fresh);
      failed = false;
    } catch {
      // The server is out of reach; the next look finds it again.
    } finally {
      took = Date.now() - asked;
      asking = false;
    }
  };
  const look = () => {
    if (paused || asking || document.hidden) return;
    looked = Date.now();
    return ask();
  };

  // What moves on the page of a task that runs is no event: it alone is asked for every few seconds, as long as the page says so; not after a
  // look that failed, until one at the page has not, and less often where a look takes long.
  let moving = 0;
  let ticks = 0;
  let moved = 0;
  const follow = (page) => {
    const next = Number(page.getElementById("live")?.dataset.moving || 0) * 1000;
    if (next === moving) return;
    moving = next;
    clearInterval(ticks);
    if (moving > 0) ticks = setInterval(() => {
      if (paused || asking || failed || document.hidden || Date.now() - moved < 20 * took) return;
      moved = Date.now();
      ask("moving");
    }, moving);
  };

  // However much happens, it looks once a second at most, and less often where a look takes long: a page is to cost a busy server little.
  const soon = () => {
    if (wanted !== 0) return;
    wanted = setTimeout(() => {
      wanted = 0;
      // What is asked for just now may have been read before it happened.
      if (asking) soon(); else look();
    }, Math.max(100, looked + Math.max(1000, 20 * took) - Date.now()));
  };

  // Where the server tells what happens, the page is told and need not look for itself; heartbeats are no events, so that it does now and then
  // (and more often at a task that runs).
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

  // The one place that says when to look at the whole page without being told.
  const begin = () => {
    listen();
    setInterval(() => {
      listen();
      if (deaf() || Date.now() - looked >= Math.max(15_000, every)) look();
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
  follow(document);
})();
