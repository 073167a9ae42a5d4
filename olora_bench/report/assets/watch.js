"use strict";
(() => {
  // The server draws the page; this asks for it again and puts what has changed in place.
  const live = document.querySelector("#live"), lost = document.querySelector("#lost");
  const code = (page) => [page.querySelector("style").textContent, page.querySelector("script").textContent].join("\n");
  const own = code(document);
  let last = new Date(), wait = 2000;
  function show(fresh) {
    if (fresh.innerHTML === live.innerHTML) return;
    const scrolled = [...document.querySelectorAll(".scroll")].map((box) => [box.id, box.scrollTop, box.scrollLeft]), focus = document.activeElement && document.activeElement.id;
    live.replaceChildren(...document.adoptNode(fresh).childNodes);
    for (const [id, top, left] of scrolled) { const box = document.getElementById(id); if (box) { box.scrollTop = top; box.scrollLeft = left; } }
    if (focus && document.getElementById(focus)) document.getElementById(focus).focus({ preventScroll: true });
  }
  async function look() {
    try {
      const began = performance.now(), answer = await fetch("/", { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (code(page) !== own) return location.reload(); // other arms, or another olora_bench
      show(page.querySelector("#live"));
      document.title = page.title;
      last = new Date();
      lost.hidden = true;
      wait = Math.max(2000, 5 * (performance.now() - began));
    } catch (error) {
      lost.textContent = `No answer since ${last.toLocaleTimeString()}: the watch command has ended or does not answer. This page asks on.`;
      lost.hidden = false;
      wait = 3000;
    }
    setTimeout(look, wait);
  }
  setTimeout(look, wait);
})();
