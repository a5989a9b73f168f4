// A notebook that changed while JupyterLab was saving it is saved again.
//
// JupyterLab writes the notebook as it was when the save began, and then takes it for unchanged: outputs that arrived
// in between would be on disk only after some later change, which never comes when they were a run's last ones.

const mark = (panel, context) => {
  let changed = false;
  context.model.contentChanged.connect(() => (changed = true));
  context.saveState.connect((_, state) => {
    if (state === "completed" && changed) context.model.dirty = true;
    changed = false;
  });
};

const plugin = {
  id: "flenwheel-saves:plugin",
  description: "Saves a notebook again that changed while it was being saved",
  autoStart: true,
  activate: (app) => void app.docRegistry.addWidgetExtension("Notebook", { createNew: mark }),
};

// what JupyterLab asks of a prebuilt extension
(window._JUPYTERLAB ??= {})["flenwheel-saves"] = {
  init: () => {},
  get: async () => () => ({ __esModule: true, default: plugin }),
};
