(() => {
  "use strict";
  const list = document.querySelector(".shots");
  if (!list) return;
  const cards = [...list.children];
  const buttons = [...document.querySelectorAll("[data-filter]")];
  const sort = document.querySelector(".sort");
  const empty = document.querySelector(".empty");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  document.querySelector(".filters").hidden = false;
  sort.hidden = cards.length < 2;

  const show = (filter) => {
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.filter === filter));
    }
    let shown = 0;
    for (const card of cards) {
      card.hidden = filter !== "all" && card.dataset[filter] !== "1";
      shown += card.hidden ? 0 : 1;
    }
    empty.hidden = shown > 0;
  };
  for (const button of buttons) {
    button.addEventListener("click", () => show(button.dataset.filter));
  }

  sort.querySelector("select").addEventListener("change", (event) => {
    const key = event.target.value;
    const value = (card) => Number(card.dataset[key]);
    const order = (card) => Number(card.dataset.order);
    const by = key === "order"
      ? (a, b) => order(a) - order(b)
      : (a, b) => value(b) - value(a) || order(a) - order(b);
    list.append(...[...cards].sort(by));
  });

  /* A link to a card that the filter hides shows all cards again. */
  const reveal = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.hidden) {
      show("all");
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", reveal);
  reveal();

  const stop = (video) => { video.pause(); };
  const start = (video) => { video.play().catch(() => { video.controls = true; }); };
  for (const video of document.querySelectorAll("video")) {
    let pinned = false;
    const toggle = () => {
      pinned = video.paused || !pinned;
      if (pinned) start(video); else stop(video);
    };
    video.controls = false;
    video.addEventListener("error", () => { video.controls = true; });
    video.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse" && !calm.matches) start(video);
    });
    video.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && !pinned) stop(video);
    });
    video.addEventListener("click", toggle);
    video.addEventListener("keydown", (event) => {
      if (event.key === " " || event.key === "Enter") { event.preventDefault(); toggle(); }
    });
  }

  const opened = [];
  addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details[data-print]:not([open])")) {
      fold.open = true;
      opened.push(fold);
    }
  });
  addEventListener("afterprint", () => {
    for (const fold of opened.splice(0)) fold.open = false;
  });
})();
