/** The parts of ECharts that are used; everything else is left out of the bundle. */
import { BarChart } from "echarts/charts";
import { GridComponent, MarkAreaComponent } from "echarts/components";
import { init, use } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";

use([BarChart, GridComponent, MarkAreaComponent, CanvasRenderer]);

export { init };
