export default {
  async render({ model, el }) {
    const state = stateOf(model), content = model.get("content");
    const root = stage(el, model.get("label"));
    const viewer = createViewer(root, content, state);
    await viewer.ready;
    return () => {
      viewer.destroy();
      state.forget();
    };
  },
};
