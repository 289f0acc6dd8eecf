#include "server/experiments/state_file.h"

#include <sqlite3.h>

#include <utility>

#include "server/text.h"

namespace precis::server {
namespace {

constexpr int kVersion = 1;
constexpr char kSchema[] = R"(
  CREATE TABLE IF NOT EXISTS results(experiment TEXT NOT NULL, fingerprint TEXT NOT NULL, bytes BLOB NOT NULL,
    PRIMARY KEY(experiment, fingerprint));
  CREATE TABLE IF NOT EXISTS requests(key BLOB PRIMARY KEY, experiment TEXT NOT NULL, fingerprint TEXT NOT NULL, arm INTEGER NOT NULL,
    unit_group INTEGER NOT NULL, prompt_tokens REAL NOT NULL, unix_seconds INTEGER NOT NULL, recorded INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS requests_by_time ON requests(unix_seconds);
  CREATE TABLE IF NOT EXISTS stops(experiment TEXT NOT NULL, fingerprint TEXT NOT NULL, arm TEXT NOT NULL, guardrail TEXT NOT NULL,
    detail TEXT NOT NULL, unix_seconds INTEGER NOT NULL, PRIMARY KEY(experiment, fingerprint, arm));
)";

// A prepared statement; every row or change is one Step after the values are bound in order.
class Statement {
 public:
  Statement(sqlite3* database, const char* sql) { code_ = sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr); }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& Text(std::string_view text) {
    sqlite3_bind_text(statement_, ++bound_, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
    return *this;
  }
  Statement& Blob(std::string_view bytes) {
    sqlite3_bind_blob(statement_, ++bound_, bytes.data(), static_cast<int>(bytes.size()), SQLITE_TRANSIENT);
    return *this;
  }
  Statement& Int(int64_t value) {
    sqlite3_bind_int64(statement_, ++bound_, value);
    return *this;
  }
  Statement& Real(double value) {
    sqlite3_bind_double(statement_, ++bound_, value);
    return *this;
  }
  // True while there are rows.
  bool Row() {
    if (code_ == SQLITE_OK || code_ == SQLITE_ROW) code_ = sqlite3_step(statement_);
    return code_ == SQLITE_ROW;
  }
  // Runs a change; ready for the next.
  bool Run() {
    if (code_ == SQLITE_OK) code_ = sqlite3_step(statement_);
    if (code_ == SQLITE_DONE) code_ = SQLITE_OK;
    sqlite3_reset(statement_);
    bound_ = 0;
    return code_ == SQLITE_OK;
  }
  bool done() const { return code_ == SQLITE_DONE; }
  std::string Bytes(int column) const {
    const void* data = sqlite3_column_blob(statement_, column);
    return data == nullptr ? "" : std::string(static_cast<const char*>(data), static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
  }
  int64_t Integer(int column) const { return sqlite3_column_int64(statement_, column); }
  double Number(int column) const { return sqlite3_column_double(statement_, column); }

 private:
  sqlite3_stmt* statement_ = nullptr;
  int code_ = SQLITE_OK;
  int bound_ = 0;
};

class StateFileImpl final : public StateFile {
 public:
  StateFileImpl(std::string path, sqlite3* database) : path_(std::move(path)), database_(database) {}
  ~StateFileImpl() override { sqlite3_close(database_); }

  absl::Status Prepare() {
    // The lock is taken by the first write and kept.
    for (const char* sql : {"PRAGMA locking_mode=EXCLUSIVE", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "BEGIN IMMEDIATE"}) {
      if (absl::Status s = Execute(sql); !s.ok()) return s;
    }
    int64_t version = 0;
    {
      Statement read(database_, "PRAGMA user_version");
      if (read.Row()) version = read.Integer(0);
    }
    if (version != 0 && version != kVersion) {
      return absl::InvalidArgumentError(StrCat(path_, ": the state is of version ", version, ", and this server reads version ", kVersion,
                                               "; give another file to --experiments-state"));
    }
    for (const std::string& sql : {std::string(kSchema), StrCat("PRAGMA user_version=", kVersion), std::string("COMMIT")}) {
      if (absl::Status s = Execute(sql.c_str()); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<StoredState> Load() override {
    StoredState out;
    Statement results(database_, "SELECT experiment, fingerprint, bytes FROM results");
    while (results.Row()) out.results.push_back({results.Bytes(0), results.Bytes(1), results.Bytes(2)});
    Statement requests(database_, "SELECT key, experiment, fingerprint, arm, unit_group, prompt_tokens, unix_seconds, recorded FROM requests "
                                  "ORDER BY unix_seconds");
    while (requests.Row()) {
      out.requests.push_back({requests.Bytes(0), requests.Bytes(1), requests.Bytes(2), static_cast<int>(requests.Integer(3)),
                              static_cast<int>(requests.Integer(4)), requests.Number(5), requests.Integer(6),
                              static_cast<uint32_t>(requests.Integer(7))});
    }
    Statement stops(database_, "SELECT experiment, fingerprint, arm, guardrail, detail, unix_seconds FROM stops ORDER BY unix_seconds");
    while (stops.Row()) {
      out.stops.push_back({stops.Bytes(0), stops.Bytes(1), stops.Bytes(2), stops.Bytes(3), stops.Bytes(4), stops.Integer(5)});
    }
    if (!results.done() || !requests.done() || !stops.done()) return Error("can't be read");
    return out;
  }

  absl::Status Save(const StoredState& changes, int64_t expired_unix_seconds) override {
    if (absl::Status s = Execute("BEGIN IMMEDIATE"); !s.ok()) return s;
    absl::Status status = Write(changes, expired_unix_seconds);
    if (status.ok()) status = Execute("COMMIT");
    if (!status.ok()) sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
    return status;
  }

 private:
  absl::Status Write(const StoredState& changes, int64_t expired_unix_seconds) {
    Statement results(database_, "INSERT OR REPLACE INTO results VALUES(?, ?, ?)");
    for (const StoredResults& r : changes.results) {
      if (!results.Text(r.experiment).Text(r.fingerprint).Blob(r.bytes).Run()) return Error("can't be written");
    }
    Statement requests(database_, "INSERT OR REPLACE INTO requests VALUES(?, ?, ?, ?, ?, ?, ?, ?)");
    for (const AssignedRequest& r : changes.requests) {
      requests.Blob(r.key).Text(r.experiment).Text(r.fingerprint).Int(r.arm).Int(r.group).Real(r.prompt_tokens).Int(r.unix_seconds);
      if (!requests.Int(r.recorded).Run()) return Error("can't be written");
    }
    Statement stops(database_, "INSERT OR IGNORE INTO stops VALUES(?, ?, ?, ?, ?, ?)");
    for (const StoredStop& s : changes.stops) {
      stops.Text(s.experiment).Text(s.fingerprint).Text(s.arm).Text(s.guardrail).Text(s.detail);
      if (!stops.Int(s.unix_seconds).Run()) return Error("can't be written");
    }
    Statement expire(database_, "DELETE FROM requests WHERE unix_seconds < ?");
    return expire.Int(expired_unix_seconds).Run() ? absl::OkStatus() : Error("can't be written");
  }

  absl::Status Execute(const char* sql) {
    const int code = sqlite3_exec(database_, sql, nullptr, nullptr, nullptr);
    return code == SQLITE_OK ? absl::OkStatus() : Error("can't be used");
  }

  absl::Status Error(std::string_view what) {
    const int code = sqlite3_errcode(database_);
    const std::string message = StrCat("the experiments' state ", path_, " ", what, ": ", sqlite3_errmsg(database_));
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
      return absl::FailedPreconditionError(StrCat(message, "; another process holds it: give each server its own file"));
    }
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT) return absl::InvalidArgumentError(message);
    return absl::InternalError(message);
  }

  const std::string path_;
  sqlite3* const database_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StateFile>> StateFile::Open(const std::string& path) {
  sqlite3* database = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  auto file = std::make_unique<StateFileImpl>(path, database);
  if (code != SQLITE_OK) {
    return absl::InvalidArgumentError(StrCat("the experiments' state ", path, " can't be opened: ", sqlite3_errstr(code), "; its folder must exist and be writable"));
  }
  if (absl::Status s = file->Prepare(); !s.ok()) return s;
  return std::unique_ptr<StateFile>(std::move(file));
}

}  // namespace precis::server
