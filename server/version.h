/* The version of the program; TS_VERSION comes from the build. */
#ifndef TS_SERVER_VERSION_H
#define TS_SERVER_VERSION_H

#ifndef TS_VERSION
#    define TS_VERSION "0.1.0"
#endif
#define TS_VERSION_TEXT "tensorscope " TS_VERSION

#endif
