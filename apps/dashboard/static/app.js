// The pages work without this. It looks again every few seconds while the page is seen, and puts what has changed into its place.
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

  const look = async () => {
    if (paused || asking || document.hidden) return;
    asking = true;
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
      asking = false;
    }
  };

  // The one place that says when to look: where the server tells of changes by itself (an EventSource), its messages call `look`.
  const begin = () => { setInterval(look, every); };

  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Refresh again" : "Stop refreshing";
    look();
  });
  document.addEventListener("visibilitychange", look);
  begin();
})();
