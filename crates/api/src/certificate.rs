//! Certificates of agents: made for one joining of one host, good for a while, and renewed well
//! before their end. Whether one counts is decided where they are read, by the server's clock.

use crate::tls::{Identity, TlsError, issuer, live, make, named};
use model::id::HostId;
use model::limits::{CERTIFICATE_RETRY_MS, CERTIFICATE_SLACK_MS};
use model::time::Timestamp;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, KeyPair, SanType,
};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

/// What an agent's certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The host.
    pub host: HostId,
    /// Which joining of the host it was made for; empty in those of older servers.
    pub enrolment: String,
    /// Good from.
    pub from: Timestamp,
    /// Good until.
    pub until: Timestamp,
}

/// For whom and how long a certificate is made.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// Id of the environment.
    pub environment: &'a str,
    /// The host.
    pub host: &'a HostId,
    /// Which joining of the host.
    pub enrolment: &'a str,
    /// Now.
    pub now: Timestamp,
    /// How long it is good, in milliseconds.
    pub life_ms: u64,
}

impl Grant<'_> {
    /// When it ends: a certificate knows whole seconds.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        let end = self.now.plus_ms(self.life_ms);
        Timestamp(end.0 - end.0.rem_euclid(1_000))
    }

    fn from(&self) -> Timestamp {
        let slack = CERTIFICATE_SLACK_MS.min(self.life_ms / 2);
        Timestamp(self.now.0.saturating_sub(i64::try_from(slack).unwrap_or(0)))
    }
}

/// Makes a key and a certificate request on the host; no name in it is trusted by the server.
///
/// # Errors
/// `TlsError::Make`.
pub fn request() -> Result<(String, String), TlsError> {
    let key = make("request", KeyPair::generate())?;
    let params = make("request", CertificateParams::new(Vec::<String>::new()))?;
    let request = make("request", params.serialize_request(&key))?;
    Ok((make("request", request.pem())?, key.serialize_pem()))
}

/// Signs an agent's request; the certificate says what is granted, whatever the request says.
///
/// # Errors
/// `TlsError` when the request is not one.
pub fn sign(ca: &Identity, request_pem: &str, grant: &Grant<'_>) -> Result<String, TlsError> {
    let what = format!("of agent {}", grant.host);
    let mut request = make(&what, CertificateSigningRequestParams::from_pem(request_pem))?;
    let mut params = make(&what, CertificateParams::new(Vec::<String>::new()))?;
    params.distinguished_name = named(grant.host.as_str());
    let Grant { environment, host, enrolment, .. } = grant;
    let uri = format!("spiffe://{environment}/host/{host}/{enrolment}");
    params.subject_alt_names = vec![SanType::URI(make(&what, uri.try_into())?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    live(&mut params, grant.from(), grant.until());
    request.params = params;
    Ok(make(&what, request.signed_by(&issuer(ca)?))?.pem())
}

/// What a certificate says; `None` when it is not one of an agent. Nothing of it is verified here.
#[must_use]
pub fn read(certificate: &CertificateDer<'_>) -> Option<Certificate> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    let host = HostId::parse(name).ok()?;
    let names = parsed.subject_alternative_name().ok()?;
    let mut names = names.iter().flat_map(|names| &names.value.general_names);
    let enrolment = names.find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix("spiffe://")?.rsplit_once('/').map(|(_, e)| e),
        _ => None,
    });
    let enrolment = enrolment.unwrap_or_default().to_owned();
    let at = |time: x509_parser::time::ASN1Time| Timestamp(time.timestamp().saturating_mul(1_000));
    let validity = parsed.validity();
    Some(Certificate {
        host,
        enrolment,
        from: at(validity.not_before),
        until: at(validity.not_after),
    })
}

/// What the first certificate of a PEM text says.
///
/// # Errors
/// `TlsError::Read` when there is none of an agent.
pub fn read_pem(pem: &str) -> Result<Certificate, TlsError> {
    let chain = crate::tls::chain(pem)?;
    let why = || TlsError::Read { what: "certificate", why: "it names no host".into() };
    chain.first().and_then(read).ok_or_else(why)
}

impl Certificate {
    /// When it is renewed: at two thirds of its life, up to a twentieth of it earlier, another
    /// share for every host and every certificate, so that a thousand hosts that joined together
    /// do not come together.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        let life = self.until.since_ms(self.from);
        let start = 0xcbf2_9ce4_8422_2325_u64;
        let bytes = self.host.as_str().bytes().chain(self.until.0.to_le_bytes());
        let hash =
            bytes.fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let early = life / 20 * ((hash >> 16) % 1_024) / 1_024;
        self.from.plus_ms((life / 3).saturating_mul(2).saturating_sub(early))
    }

    /// Between two tries to renew it, in milliseconds.
    #[must_use]
    pub fn retry_ms(&self) -> u64 {
        CERTIFICATE_RETRY_MS.min(self.until.since_ms(self.from) / 50).max(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{chain, make_ca, pin};

    const DAY: u64 = 24 * 3_600_000;
    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn grant(host: &HostId, life_ms: u64) -> Grant<'_> {
        Grant { environment: "e1", host, enrolment: "a1b2", now: NOW, life_ms }
    }

    #[test]
    fn a_certificate_says_what_the_server_granted_and_nothing_that_was_asked_for() {
        let ca = make_ca("test", NOW).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["beta".into()]).unwrap();
        params.distinguished_name = named("beta");
        let wanted = params.serialize_request(&key).unwrap().pem().unwrap();
        let host = HostId::parse("alpha").unwrap();
        let pem = sign(&ca, &wanted, &grant(&host, 90 * DAY)).unwrap();
        let expected = Certificate {
            host: host.clone(),
            enrolment: "a1b2".into(),
            from: Timestamp(NOW.0 - i64::try_from(DAY).unwrap()),
            until: NOW.plus_ms(90 * DAY),
        };
        assert_eq!(read_pem(&pem).unwrap(), expected);
        assert!(!pem.contains("beta") && chain(&pem).unwrap().len() == 1);
        assert_eq!(pin(&ca.chain_pem).unwrap().len(), 64);
        assert!(sign(&ca, "nonsense", &grant(&host, DAY)).is_err());
        assert!(read_pem("nonsense").is_err());
    }

    #[test]
    fn certificates_are_renewed_around_two_thirds_of_their_life_and_not_all_at_once() {
        for life_ms in [10_000, DAY, 90 * DAY, 1_800 * DAY] {
            let mut all = vec![];
            for n in 0..200 {
                let host = HostId::parse(&format!("host-{n}")).unwrap();
                let grant = grant(&host, life_ms);
                let (from, until) = (grant.from(), grant.until());
                let one = Certificate { host: host.clone(), enrolment: String::new(), from, until };
                let at = one.renew_at();
                let part = at.since_ms(from) * 1_000 / until.since_ms(from);
                assert!((610..=667).contains(&part), "{part}/1000 of {life_ms}");
                assert!(at > NOW && at < until, "{life_ms}");
                assert!(one.retry_ms() * 10 < until.since_ms(at), "there is time for many tries");
                all.push(at);
            }
            all.sort_unstable();
            all.dedup();
            assert!(all.len() > 50, "{} times for 200 hosts", all.len());
        }
    }
}
