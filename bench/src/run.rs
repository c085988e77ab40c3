//! The rounds: every peer after the other, so that what changes on the machine meanwhile meets all of
//! them. For each: redirect, fresh applications and sidecars, proof of the same work, then the case.

use crate::args::Args;
use crate::cases::{Case, Setup, Traffic, registry};
use crate::certificates::Certificates;
use crate::check;
use crate::error::{self, Error, Result};
use crate::machine;
use crate::peers::{self, Peer, Tools};
use crate::programs::Programs;
use crate::report::{CaseReport, Failure, Report};
use crate::stage::Stage;
use crate::visitor::Visitors;
use crate::world::{Place, World};

/// Runs the cases that were asked for.
pub(crate) fn all(args: &Args, programs: &Programs, world: &World) -> Result<Report> {
    let certificates = Certificates::new(world, "authority")?;
    let visitors = Visitors::new(world, &certificates)?;
    let tools = Tools {
        world,
        programs,
        certificates: &certificates,
    };
    let mut report = Report::new(machine::describe(programs));
    for case in chosen(args)? {
        println!("\n== {}: {}", case.name(), case.title());
        report.cases.push(rounds(&*case, args, tools, &visitors)?);
        // So that what has been measured survives whatever happens in the next case.
        if let Some(file) = &args.json {
            report.write_json(file)?;
        }
    }
    Ok(report)
}

fn chosen(args: &Args) -> Result<Vec<Box<dyn Case>>> {
    let names: Vec<&str> = registry().iter().map(|case| case.name()).collect();
    if let Some(unknown) = args.case.iter().find(|c| !names.contains(&c.as_str())) {
        return Err(Error::Unable(format!(
            "there is no case {unknown:?}; there are {}",
            names.join(", ")
        )));
    }
    let wanted =
        |case: &dyn Case| args.case.is_empty() || args.case.iter().any(|c| c == case.name());
    Ok(registry()
        .into_iter()
        .filter(|case| wanted(&**case))
        .collect())
}

fn rounds(
    case: &dyn Case,
    args: &Args,
    tools: Tools<'_>,
    visitors: &Visitors,
) -> Result<CaseReport> {
    let mut report = CaseReport::new(case, args);
    let setups = case.setups();
    for round in 1..=args.rounds {
        for setup in &setups {
            for peer in case.peers().into_iter().filter(|peer| args.wants(*peer)) {
                // What could not be done once is not tried again.
                if report.failed(peer, &setup.label) {
                    continue;
                }
                println!(
                    "round {round} of {}: {} {}",
                    args.rounds,
                    peer.name(),
                    setup.label
                );
                match stage(
                    (case, setup),
                    args,
                    tools,
                    visitors,
                    (peer, round),
                    &mut report,
                ) {
                    Ok(()) => {}
                    Err(Error::Stopped) => return Err(Error::Stopped),
                    Err(error) => {
                        let why = error::chain(&error);
                        eprintln!("!! {} of {} FAILED: {why}", case.name(), peer.name());
                        report.failures.push(Failure {
                            peer,
                            round,
                            setup: setup.label.clone(),
                            why,
                        });
                    }
                }
            }
        }
    }
    Ok(report)
}

fn stage(
    (case, setup): (&dyn Case, &Setup),
    args: &Args,
    tools: Tools<'_>,
    visitors: &Visitors,
    (peer, round): (Peer, u32),
    report: &mut CaseReport,
) -> Result<()> {
    peers::redirect(tools.programs, peer)?;
    let apps: Result<Vec<_>> = [Place::V1, Place::V2]
        .into_iter()
        .map(|pod| setup.app.start(tools, pod))
        .collect();
    let mut stage = Stage {
        tools,
        args,
        case: case.name(),
        peer,
        round,
        apps: apps?,
        sidecars: peer.start(tools, setup)?,
        figures: Vec::new(),
        disturbances: Vec::new(),
    };
    if let Some(work) = check::same_work(peer, setup, round, visitors)? {
        println!("  same work: {}", work.says());
        report.works.push(work);
    }
    if setup.traffic == Traffic::Tcp && peer != Peer::Direct {
        let wire = check::opaque::same_work(stage.ground(), setup.app, visitors)?;
        println!("  same work: {}", wire.says());
    }
    let measured = case.measure(&mut stage);
    report.take(stage);
    measured
}
