-- What wrk asks. Arguments: "bridge" (a CAMARA request of v0.1.0), another version of the API, or
-- "core" (the request that the bridge would make of it), over how many synthetic subscribers to go round, and the token, if any.

local form
local subscribers
local next_subscriber = 0
local headers = {["content-type"] = "application/json"}

local function bridge(msisdn)
  return wrk.format("POST", "/device-identifier/v0.1.0/retrieve-identifier",
    headers, '{"phoneNumber":"+' .. msisdn .. '"}')
end

local function core(msisdn)
  return wrk.format("GET",
    "/nudm-uecm/v1/msisdn-" .. msisdn .. "/registrations/amf-3gpp-access")
end

-- Of a version that has the device as a member of the body.
local function later(version)
  local path = "/device-identifier/" .. version .. "/retrieve-identifier"
  return function(msisdn)
    return wrk.format("POST", path, headers, '{"device":{"phoneNumber":"+' .. msisdn .. '"}}')
  end
end

function init(arguments)
  local known = {bridge = bridge, core = core}
  form = known[arguments[1]] or later(arguments[1])
  subscribers = tonumber(arguments[2])
  if arguments[3] then
    headers["authorization"] = "Bearer " .. arguments[3]
  end
end

function request()
  next_subscriber = (next_subscriber + 1) % subscribers
  return form(string.format("3467%08d", next_subscriber))
end

-- One line for the program that started wrk; times are microseconds.
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("load requests=%d failed=%d duration=%d p50=%d p99=%d\n",
    summary.requests,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99)))
end
