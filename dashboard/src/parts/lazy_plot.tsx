import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

import type { PlotProps } from "./plot";

export function LazyPlot(props: PlotProps) {
  const [Plot, setPlot] = useState<ComponentType<PlotProps> | null>(null);
  useEffect(() => {
    void import("./plot").then((loaded) => setPlot(() => loaded.default));
  }, []);
  return Plot === null ? <div class="plot" /> : <Plot {...props} />;
}
