#ifndef PRECIS_CLIENT_EVAL_DATA_UNPACKERS_H_
#define PRECIS_CLIENT_EVAL_DATA_UNPACKERS_H_

#include <memory>

#include "client/eval/data/byte_source.h"

namespace precis::eval {

// What the packed source holds. DATA_LOSS, with what was wrong, where it is damaged or ends early; bytes before that were given.
std::unique_ptr<ByteSource> MakeGzipSource(std::unique_ptr<ByteSource> packed);
std::unique_ptr<ByteSource> MakeXzSource(std::unique_ptr<ByteSource> packed);
std::unique_ptr<ByteSource> MakeZstdSource(std::unique_ptr<ByteSource> packed);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_DATA_UNPACKERS_H_
