"use strict";
// The contents mark the section in view and fold on a phone; a button turns the colours round.
(() => {
  const root = document.documentElement;
  const nav = document.querySelector("nav");
  const list = nav.querySelector("details");
  const here = nav.querySelector(".here");
  const links = [...nav.querySelectorAll("a")];
  const sections = links.map((link) => document.getElementById(link.hash.slice(1)));
  const narrow = window.matchMedia("(max-width: 70rem)");
  root.classList.add("scripted");

  const fold = () => { list.open = !narrow.matches; };
  narrow.addEventListener("change", fold);
  fold();
  nav.addEventListener("click", (event) => { if (event.target.closest("a")) fold(); });

  let marked = null;
  function mark() {
    const atEnd = window.innerHeight + window.scrollY >= root.scrollHeight - 2;
    const line = window.innerHeight * 0.3;
    const reached = sections.filter((section) => section.getBoundingClientRect().top <= line).length - 1;
    const link = links[atEnd ? links.length - 1 : Math.max(0, reached)];
    if (link === marked) return;
    if (marked) marked.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    here.textContent = link.textContent;
    if (!narrow.matches) link.scrollIntoView({ block: "nearest" });
    marked = link;
  }
  let waiting = false;
  const later = () => {
    if (!waiting) requestAnimationFrame(() => { waiting = false; mark(); });
    waiting = true;
  };
  window.addEventListener("scroll", later, { passive: true });
  window.addEventListener("resize", later);
  mark();

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const button = nav.querySelector(".scheme");
  const isDark = () => (root.dataset.scheme ? root.dataset.scheme === "dark" : dark.matches);
  function told() {
    button.textContent = isDark() ? "Light" : "Dark";
    document.dispatchEvent(new Event("scheme"));
  }
  button.addEventListener("click", () => { root.dataset.scheme = isDark() ? "light" : "dark"; told(); });
  dark.addEventListener("change", told);
  button.hidden = false;
  told();
})();
