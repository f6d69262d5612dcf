/*
 * The subcommands of the executable. Owners add a line to commands.def and a function.
 *
 * A function gets argv from its own name on (argv[0] is "gaze"), answers --help itself, and returns
 * the exit status: 0 done, 1 run-time error, 2 usage, 3 no device, 4 device lost, 5 input, 6 output,
 * 7 model.
 */
#ifndef TS_SERVER_COMMANDS_H
#define TS_SERVER_COMMANDS_H

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_command {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} ts_command;

#define COMMAND(name, function, help) int function(int argc, char **argv);
#include "server/commands.def"
#undef COMMAND

/** The exit status that fits an error. */
int ts_exit_status(ts_status status);
/** Print "tensorscope NAME: text" to stderr and return ts_exit_status(). */
int ts_command_fail(const char *name, const ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
