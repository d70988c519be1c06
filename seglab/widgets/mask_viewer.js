export default {
  async render({ model, el }) {
    const state = stateOf(model), root = stage(el, model.get("label"));
    let viewer = null, rounds = 0;
    /** Show the picture of the moment. The one before it goes once this one is decoded, so that nothing flickers. */
    async function show() {
      const round = ++rounds, choices = stateOf(model), host = h("div", { hidden: viewer !== null });
      const leave = () => { next.destroy(); choices.forget(); host.remove(); };
      root.append(host);
      const next = createViewer(host, model.get("content"), choices);
      try {
        await next.ready;
      } catch (error) {
        if (viewer) leave();  // else its note says why there is no picture
        throw error;
      }
      if (round !== rounds) return leave();
      viewer?.leave();
      viewer = { leave };
      host.hidden = false;
    }
    state.on("content", show);
    state.on("label", () => root.setAttribute("aria-label", state.get("label")));
    await show();
    return () => {
      rounds++;  // what is being decoded leaves by itself
      viewer?.leave();
      state.forget();
    };
  },
};
