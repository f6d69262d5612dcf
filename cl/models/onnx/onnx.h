/*
 * An ONNX file as a model: <directory>/model.onnx, run by cl/graph.
 *
 * Inputs and outputs are the graph's, with its names and dtypes (f64 by conversion from and to f32).
 * Only what is asked for is computed.
 */
#ifndef TS_CL_MODELS_ONNX_ONNX_H
#define TS_CL_MODELS_ONNX_ONNX_H

#include "cl/models/model.h"

extern const ts_model_ops ts_onnx_model_ops;

#endif
