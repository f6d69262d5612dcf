/* The built-in colour tables (colormaps.def): `rows` x 3 floats each, low to high. Thread: any. */
#ifndef TS_CL_VIZ_COLORMAP_TABLES_H
#define TS_CL_VIZ_COLORMAP_TABLES_H

#define X(name, rows, group, uniform) extern const float ts_colormap_table_##name[rows][3];
#include "cl/viz/colormaps.def"
#undef X

#endif
